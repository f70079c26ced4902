"""LoRA layers computed in one step, which is quicker and keeps less than PEFT's own way.

PEFT builds a layer from five operations, each with a result that waits for the backward pass (in
float32 beside a bfloat16 base). One function knows the gradients: it keeps the layer's input, which
its neighbours keep too, and the few numbers of the low rank.
"""

from __future__ import annotations

from types import MethodType
from typing import Any


def speed_up(model: Any) -> int:
    """Replace the forward pass of all LoRA layers that are plain; return how many.

    Not plain are quantised bases, dropout, DoRA and other variants: they stay PEFT's.

    Args:
        model: A PEFT model with one adapter.
    """
    from peft.tuners.lora import Linear

    function = _function()
    plain = [module for module in model.modules() if isinstance(module, Linear) and _is_plain(module)]
    for module in plain:
        module.forward = MethodType(_forward_with(function, module.forward), module)  # type: ignore[method-assign]
    return len(plain)


def _is_plain(module: Any) -> bool:
    import torch

    [name] = module.active_adapters if len(module.active_adapters) == 1 else [""]
    return (
        bool(name)
        and type(module.base_layer) is torch.nn.Linear
        and name not in module.lora_variant
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and module.lora_B[name].bias is None
        and not module.fan_in_fan_out
    )


def _forward_with(function: Any, original: Any) -> Any:
    def forward(self: Any, states: Any, *args: Any, **kwargs: Any) -> Any:
        if self.disable_adapters or self.merged or kwargs:
            return original(states, *args, **kwargs)
        name = self.active_adapters[0]
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        base = self.base_layer
        return function.apply(states, base.weight, base.bias, down, up, self.scaling[name])

    return forward


def _function() -> Any:
    import torch

    class LowRank(torch.autograd.Function):
        """y = x W' + b + s (x A') B', with W and b frozen."""

        @staticmethod
        def forward(ctx: Any, states: Any, weight: Any, bias: Any, down: Any, up: Any, scale: float) -> Any:
            flat = states.reshape(-1, states.shape[-1])
            small = flat @ down.to(flat.dtype).t()
            result = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
            result.addmm_(small, up.to(flat.dtype).t(), alpha=scale)
            ctx.save_for_backward(flat, weight, down, up, small)
            ctx.scale = scale
            return result.unflatten(0, states.shape[:-1])

        @staticmethod
        def backward(ctx: Any, *by_result: Any) -> Any:
            flat, weight, down, up, small = ctx.saved_tensors
            given = by_result[0].reshape(-1, by_result[0].shape[-1])
            by_small = (given @ up.to(given.dtype)).mul_(ctx.scale)
            by_states = None
            if ctx.needs_input_grad[0]:
                by_states = (given @ weight).addmm_(by_small, down.to(given.dtype))
                by_states = by_states.unflatten(0, by_result[0].shape[:-1])
            by_down = (by_small.t() @ flat).to(down.dtype)
            by_up = (given.t() @ small).mul_(ctx.scale).to(up.dtype)
            return by_states, None, None, by_down, by_up, None

    return LowRank
