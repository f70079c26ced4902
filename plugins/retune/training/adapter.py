"""The finished adapter: checked, in one byte form, published by a rename."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from retune.errors import BackendError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def publish(model: Any, folder: Path, base_name: str) -> None:
    """Write a PEFT model's adapter to `folder`: its weights and its configuration, nothing else.

    Args:
        model: The trained PEFT model.
        folder: Where it goes; an earlier one is replaced.
        base_name: What the endpoint calls the base model.

    Raises:
        BackendError: The adapter is empty, untrained or holds a value that is no number.
    """
    written, partial = folder.with_name(".model.written"), folder.with_name(".model.partial")
    for leftover in (written, partial):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save_pretrained(written, safe_serialization=True, save_embedding_layers=False)
    check(written / WEIGHTS)
    partial.mkdir()
    (written / WEIGHTS).rename(partial / WEIGHTS)
    config = json.loads((written / CONFIG).read_bytes())
    (partial / CONFIG).write_text(_canonical(config, base_name), encoding="utf-8")
    shutil.rmtree(written)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def check(weights: Path) -> None:
    """Refuse an adapter that would change nothing or break the model.

    Raises:
        BackendError: It is empty, all its `lora_B` are zero, or a value is NaN or infinite.
    """
    import torch
    from safetensors.torch import load_file

    tensors = load_file(weights)
    broken = sorted(name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
    if broken:
        raise BackendError(
            f"{len(broken)} of {len(tensors)} tensors of the adapter hold NaN or infinity, first {broken[0]}",
            "lower the learning rate",
        )
    if not any(tensor.any() for name, tensor in tensors.items() if "lora_B" in name):
        raise BackendError(
            "the adapter is empty: the training has changed nothing", "raise the learning rate or the epochs"
        )


def _canonical(config: dict[str, Any], base_name: str) -> str:
    # PEFT keeps sets, whose order changes from process to process, and the digest with it.
    ordered = {name: sorted(value) if name == "target_modules" else value for name, value in config.items()}
    return json.dumps(ordered | {"base_model_name_or_path": base_name}, sort_keys=True, indent=2) + "\n"
