"""What is minimised: the answers' tokens (SFT), or the better answer against the worse (DPO).

Logits are made at the places that are learned and nowhere else, and a part of them at a time: with a
large vocabulary they would be most of the memory.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

_INPUTS = ("input_ids", "attention_mask", "position_ids", "blocks")
_LOGITS_AT_ONCE = 1 << 26
"""Numbers; 256 MiB as float32."""


def learn(model: Any, simple_head: bool) -> None:
    """Teach a causal language model to answer with log-probabilities of given tokens.

    Called with `kept` and `targets` it returns `log_probs` (float32) of the targets, each after the
    place that `kept` names, and `correct`, whether the target was the likeliest (no gradient;
    None while gradients are wanted). Called otherwise it is as before.

    Args:
        model: The bare model, without an adapter around it; it is changed in place, as whatever
            wraps it (PEFT, DDP, FSDP) must go on calling its `forward`.
        simple_head: Whether logits are no more than its output embedding of the last hidden state.
    """
    original = model.forward

    def forward(self: Any, *args: Any, kept: Any = None, targets: Any = None, **kwargs: Any) -> Any:
        if kept is None:
            return original(*args, **kwargs)
        inputs = {name: value for name, value in kwargs.items() if value is not None}
        if not simple_head:
            logits = original(*args, **inputs, use_cache=False).logits
            return _measure(logits.flatten(0, 1)[kept], targets)
        head = self.get_output_embeddings()
        hidden = self.get_decoder()(*args, **inputs, use_cache=False).last_hidden_state
        return _log_probs(hidden.flatten(0, 1)[kept], head, targets)

    model.forward = MethodType(forward, model)


def _log_probs(hidden: Any, head: Any, targets: Any) -> dict[str, Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    rows = max(1, _LOGITS_AT_ONCE // head.weight.shape[0])
    parts = list(zip(hidden.split(rows), targets.split(rows), strict=True))
    if not torch.is_grad_enabled():
        found = [_measure(head(states), tokens) for states, tokens in parts]
        return {name: torch.cat([part[name] for part in found]) for name in ("log_probs", "correct")}
    frozen = not any(parameter.requires_grad for parameter in head.parameters())
    if frozen and type(head) is torch.nn.Linear and head.weight.dtype == hidden.dtype:
        function = frozen_head()
        made = [function.apply(states, head.weight, head.bias, tokens) for states, tokens in parts]
    else:
        made = [
            checkpoint(
                lambda states, tokens: _measure(head(states), tokens)["log_probs"], *part, use_reentrant=False
            )
            for part in parts
        ]
    return {"log_probs": torch.cat(made), "correct": None}


def _measure(logits: Any, targets: Any) -> dict[str, Any]:
    import torch

    numbers = logits.float()
    chosen = numbers.gather(-1, targets[:, None]).squeeze(-1)
    correct = None if torch.is_grad_enabled() else numbers.argmax(-1) == targets
    return {"log_probs": chosen - numbers.logsumexp(-1), "correct": correct}


def frozen_head() -> Any:
    """Return the function for a head that is not trained.

    Its gradient by the hidden states is all that is wanted, and has the size of these. It is made
    with the logits, so that they are made once and kept never.
    """
    import torch

    class FrozenHead(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, states: Any, weight: Any, bias: Any, targets: Any) -> Any:
            numbers = torch.nn.functional.linear(states, weight, bias).float()
            total = numbers.logsumexp(-1, keepdim=True)
            chosen = numbers.gather(-1, targets[:, None])
            found = (chosen - total).squeeze(-1)
            if ctx.needs_input_grad[0]:
                away = numbers.sub_(total).exp_().neg_()
                away.scatter_add_(-1, targets[:, None], torch.ones_like(chosen))
                ctx.save_for_backward(away.to(weight.dtype) @ weight)
            return found

        @staticmethod
        def backward(ctx: Any, *by_result: Any) -> Any:
            (gradient,) = ctx.saved_tensors
            return (gradient * by_result[0][:, None]).to(gradient.dtype), None, None, None

    return FrozenHead


def counts(batch: dict[str, Any]) -> Any:
    """Return what a batch's sums are divided by.

    It is the learned tokens; for DPO the pairs, and the better answers' tokens.
    """
    import torch

    if "reference" not in batch:
        return torch.tensor([len(batch["labels"])])
    better = (batch["rows"] % 2 == 0).sum().item()
    return torch.tensor([len(batch["reference"]) // 2, better])


def sums(model: Any, batch: dict[str, Any], beta: float) -> tuple[Any, Any]:
    """Return a batch's losses, summed over what `counts` counts, and how many choices were right.

    DPO's loss is Rafailov et al. (arXiv 2305.18290), eq. 7, with the better answers' likelihood
    beside it (`loss_type=["sigmoid", "sft"]` in TRL), without which both answers grow unlikely.

    Args:
        model: As `learn` left it, or wrapped.
        batch: From `Collator`.
        beta: DPO's.
    """
    import torch

    found = log_probs(model, batch)
    each, correct = found["log_probs"], found["correct"]
    if "reference" not in batch:
        return -each.sum()[None], None if correct is None else correct.sum()
    of_rows = row_sums(each, batch["rows"], len(batch["reference"]))
    gains = (of_rows - batch["reference"]).view(-1, 2)
    margins = beta * (gains[:, 0] - gains[:, 1])
    preferred = -torch.nn.functional.logsigmoid(margins).sum()
    return torch.stack([preferred, -of_rows[0::2].sum()]), (margins > 0).sum()


def log_probs(model: Any, batch: dict[str, Any]) -> Any:
    """Return what `learn` describes, for a batch's learned tokens."""
    inputs = {name: batch[name] for name in _INPUTS if name in batch}
    return model(**inputs, kept=batch["kept"], targets=batch["labels"])


def row_sums(numbers: Any, rows: Any, count: int) -> Any:
    """Return the sum of each row's numbers; `rows` says which row a number belongs to."""
    return numbers.new_zeros(count).index_add(0, rows, numbers)


def moved(value: Any, device: Any) -> Any:
    """Return a batch, or a part of one, on a device."""
    if isinstance(value, dict):
        return {name: moved(part, device) for name, part in value.items()}
    if isinstance(value, list):
        return [moved(part, device) for part in value]
    return value.to(device)
