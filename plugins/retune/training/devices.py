"""What a training does differently on a CPU, on a GPU, and on several."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from retune.errors import BackendError
from retune.training.hyperparameters import Hyperparameters

_ACTIVATIONS_MAY_TAKE = 0.2
"""Of the model's own memory: what a GPU can tune at all is decided by memory, not by speed."""


@dataclass(frozen=True)
class Device:
    """Where the training runs.

    Attributes:
        cuda: On GPUs.
        half: The device computes in bfloat16.
        processes: How many train together.
    """

    cuda: bool
    half: bool
    processes: int

    def base_dtype(self, tuning: str) -> Any:
        """Return what the base model is loaded as: in full only where it is trained itself."""
        import torch

        return torch.bfloat16 if self.half and tuning != "full" else torch.float32


def find(processes: int) -> Device:
    """Look at the device, and leave a CPU's other cores alone.

    Args:
        processes: How many the job asks for; the environment overrules it.

    Raises:
        BackendError: There is no such number of processes, or not a GPU for each.
    """
    import torch

    cuda = torch.cuda.is_available()
    most = torch.cuda.device_count() if cuda else (os.cpu_count() or 1)
    if "WORLD_SIZE" not in os.environ and not 1 <= processes <= most:
        what = f"processes is {processes}, and this machine has {most} {'GPUs' if cuda else 'cores'}"
        raise BackendError(what, f"give 1 to {most}")
    if not cuda:
        # On a busy machine one thread beats two.
        torch.set_num_threads(int(os.environ.get("RETUNE_TRAINER_THREADS", "1")))
    return Device(cuda, cuda and torch.cuda.is_bf16_supported(), int(os.environ.get("WORLD_SIZE", processes)))


def arguments(device: Device, tuning: str, recompute: bool) -> dict[str, Any]:
    """Return the Trainer's arguments that depend on the device.

    Several GPUs share the model's weights (FSDP); several CPU processes hold a copy each (DDP, gloo).

    Args:
        device: Where it runs.
        tuning: lora, qlora or full.
        recompute: Whether activations are computed again in the backward pass.
    """
    sharded = device.cuda and device.processes > 1 and tuning != "qlora"
    found: dict[str, Any] = {
        "use_cpu": not device.cuda,
        # Weights that are bfloat16 already need no second precision beside them.
        "bf16": device.half and tuning == "full",
        "activation_checkpointing": recompute and not sharded,
        "dataloader_pin_memory": device.cuda,
    }
    if recompute and not sharded:
        found["activation_checkpointing_kwargs"] = {"use_reentrant": False}
    if device.processes > 1:
        found["ddp_find_unused_parameters"] = False
        found["ddp_backend"] = "nccl" if device.cuda else "gloo"
    if sharded:
        found["fsdp"] = True
        found["fsdp_config"] = {"activation_checkpointing": recompute}
    return found


def must_recompute(model: Any, device: Device, given: Hyperparameters, longest: int) -> bool:
    """Say whether activations would take much beside the model, so that they are computed twice.

    An estimate, on the safe side: a layer keeps about 16 hidden and 4 intermediate states a token.

    Args:
        model: The model, loaded.
        device: Where it runs.
        given: The job's hyperparameters.
        longest: Tokens of the longest row (of DPO: pair, or packed row).
    """
    if not device.cuda:
        return False
    config = model.config.get_text_config()
    wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    numbers = config.num_hidden_layers * (16 * config.hidden_size + 4 * wide)
    needed = numbers * (2 if device.half else 4) * given.batch_size * longest
    return bool(needed > _ACTIVATIONS_MAY_TAKE * model.get_memory_footprint())
