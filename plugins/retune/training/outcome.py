"""What a training leaves behind: the best checkpoint's weights, checked, and published by a rename."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from retune.errors import BackendError
from retune.training import adapter
from retune.training.checkpoints import INDEX, weight_files

Fingerprint = dict[str, float]
"""Name of a trained tensor -> the sum of its values."""


def fingerprint(named: Iterable[tuple[str, Any]]) -> Fingerprint:
    """Tell tensors apart that a training has changed, without keeping them."""
    return {name: float(tensor.detach().double().sum()) for name, tensor in named}


def publish_adapter(checkpoint: Path, folder: Path, base_name: str, start: Fingerprint) -> None:
    """Write a checkpoint's adapter to `folder`: its weights and its configuration, nothing else.

    Args:
        checkpoint: The best one.
        folder: Where it goes; an earlier one is replaced.
        base_name: What the endpoint calls the base model.
        start: The adapter's tensors before the training.

    Raises:
        BackendError: The adapter is empty, untrained or holds a value that is no number.
    """
    weights = checkpoint / adapter.WEIGHTS
    adapter.check(weights)
    _refuse_unchanged(fingerprint(adapter.tensors(weights, "the adapter")), start)
    partial = _begin(folder)
    shutil.copyfile(weights, partial / adapter.WEIGHTS)
    config = json.loads((checkpoint / adapter.CONFIG).read_bytes())
    (partial / adapter.CONFIG).write_text(_canonical(config, base_name), encoding="utf-8")
    _finish(partial, folder)


def publish_weights(checkpoint: Path, folder: Path, tokenizer: Any, dtype: Any, start: Fingerprint) -> None:
    """Write a checkpoint's whole model to `folder`: safetensors, configuration, tokenizer, template.

    Args:
        checkpoint: The best one.
        folder: Where it goes; an earlier one is replaced.
        tokenizer: Of the base model.
        dtype: What its weights are stored as: the base model's.
        start: The model's tensors before the training.

    Raises:
        BackendError: The weights are those of the base model, or hold a value that is no number.
    """
    from safetensors.torch import save_file

    partial = _begin(folder)
    found: Fingerprint = {}
    for file in weight_files(checkpoint):
        tensors = adapter.tensors(file, "the model")
        found |= fingerprint(tensors)
        stored = {name: tensor.to(dtype).contiguous() for name, tensor in tensors}
        save_file(stored, partial / file.name, metadata={"format": "pt"})
    _refuse_unchanged(found, start)
    for name in ("config.json", "generation_config.json", INDEX):
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, partial / name)
    config = json.loads((partial / "config.json").read_bytes()) | {"dtype": str(dtype).removeprefix("torch.")}
    (partial / "config.json").write_text(
        json.dumps(config, sort_keys=True, indent=2) + "\n", encoding="utf-8"
    )
    tokenizer.save_pretrained(partial)
    _finish(partial, folder)


def _refuse_unchanged(found: Fingerprint, start: Fingerprint) -> None:
    shared = found.keys() & start.keys()
    if shared and all(found[name] == start[name] for name in shared):
        raise BackendError(
            "the training has changed nothing: the weights are those that it started from",
            "raise the learning rate or the epochs",
        )


def _begin(folder: Path) -> Path:
    partial = folder.with_name(".model.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def _finish(partial: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _canonical(config: dict[str, Any], base_name: str) -> str:
    # PEFT keeps sets, whose order changes from process to process, and the digest with it.
    ordered = {name: sorted(value) if name == "target_modules" else value for name, value in config.items()}
    return json.dumps(ordered | {"base_model_name_or_path": base_name}, sort_keys=True, indent=2) + "\n"
