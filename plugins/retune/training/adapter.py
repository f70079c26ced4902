"""Adapters: made, taken over from an earlier one, and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retune.errors import BackendError, Problem
from retune.training import base
from retune.training.hyperparameters import Hyperparameters

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def attach(model: Any, given: Hyperparameters, warm_start: str | None) -> Any:
    """Return the model with an adapter to train: a new one that changes nothing yet, or an earlier one.

    Args:
        model: The base model.
        given: Rank, scale and dropout of a new one.
        warm_start: Folder of the earlier one, which `check_start` has passed.
    """
    import peft

    library: Any = peft  # its types are narrower than what it takes
    if warm_start:
        adapted = library.PeftModel.from_pretrained(model, warm_start, is_trainable=True)
        # PEFT looks there each time it saves, and the name in the file is the endpoint's.
        adapted.active_peft_config.base_model_name_or_path = model.name_or_path
        return adapted
    config = library.LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        r=given.r,
        lora_alpha=given.alpha,
        lora_dropout=given.dropout,
    )
    return library.get_peft_model(model, config)


def check_start(warm_start: str, base_name: str, given: Hyperparameters) -> None:
    """Refuse an adapter that a training cannot start from.

    Raises:
        BackendError: Lists what is wrong: pickles, another base model, another rank or scale, NaN.
    """
    folder, what = Path(warm_start), f"the adapter to start from ({warm_start})"
    if given.tuning == "full":
        raise BackendError(f"tuning full cannot start from {what}", "use lora, or leave warm_start out")
    base.refuse_pickles(folder, what)
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise BackendError(f"{what} has no {CONFIG} that can be read: {error}", "train anew") from error
    wanted = {
        "base_model_name_or_path": base_name,
        "peft_type": "LORA",
        "r": given.r,
        "lora_alpha": given.alpha,
        "auto_mapping": None,
    }
    problems = [
        Problem(f"{what} has {name} {config.get(name)!r}, not {value!r}", "train anew, without warm_start")
        for name, value in wanted.items()
        if config.get(name) != value
    ]
    if problems:
        raise BackendError(problems)
    check(folder / WEIGHTS)


def check(weights: Path) -> None:
    """Refuse an adapter that would change nothing or break the model.

    Raises:
        BackendError: It is empty, all its `lora_B` are zero, or a value is NaN or infinite.
    """
    changes = False
    for name, tensor in tensors(weights, "the adapter"):
        changes = changes or ("lora_B" in name and bool(tensor.any()))
    if not changes:
        raise BackendError(
            "the adapter is empty: the training has changed nothing", "raise the learning rate or the epochs"
        )


def tensors(weights: Path, what: str) -> list[tuple[str, Any]]:
    """Return a safetensors file's tensors, by name.

    Args:
        weights: The file.
        what: What the error calls it.

    Raises:
        BackendError: It cannot be read, or a value is NaN or infinite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = sorted(load_file(weights).items())
    except (OSError, SafetensorError) as error:
        raise BackendError(f"{what} cannot be read: {error}", "train anew") from error
    broken = [name for name, tensor in found if not torch.isfinite(tensor).all()]
    if broken:
        raise BackendError(
            f"{len(broken)} of {len(found)} tensors of {what} hold NaN or infinity, first {broken[0]}",
            "lower the learning rate",
        )
    return found
