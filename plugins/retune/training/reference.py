"""DPO's reference: what the model gives each answer before it learns, computed once and kept.

The usual way holds the starting model beside the trained one and asks it at every step. It never
changes, so each answer's log-probability is a number, and the training needs one model only.
"""

from __future__ import annotations

import uuid
from typing import Any

from retune.training import loss
from retune.training.batches import Collator
from retune.training.hyperparameters import Hyperparameters
from retune.training.job import JobFolder


def add(
    folder: JobFolder, model: Any, collators: dict[str, Collator], given: Hyperparameters
) -> dict[str, Collator]:
    """Return the collators with each row's log-probability under the model as it is now.

    Args:
        folder: Where the numbers are kept, for a resumed training.
        model: The starting model: with the adapter that it starts from, if any.
        collators: By side.
        given: The job's hyperparameters.
    """
    found = {}
    for side, collator in collators.items():
        numbers = _read(folder, side, len(collator.rows))
        if numbers is None:
            numbers = measure(model, collator, given.batch_size)
            _write(folder, side, numbers)
        found[side] = Collator(collator.rows, collator.in_one_line, collator.pad_token, numbers)
    return found


def measure(model: Any, collator: Collator, batch_size: int) -> Any:
    """Return the log-probability of each row's learned tokens."""
    import torch

    device = next(model.parameters()).device
    numbers = torch.zeros(len(collator.rows))
    model.eval()
    lengths = collator.rows.lengths
    ordered = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for first in range(0, len(ordered), 2 * batch_size):
        rows = ordered[first : first + 2 * batch_size]
        batch = loss.moved(collator([(row,) for row in rows]), device)
        with torch.no_grad():
            found = loss.log_probs(model, batch)["log_probs"]
        numbers[rows] = loss.row_sums(found, batch["rows"], len(rows)).cpu()
    return numbers


def _read(folder: JobFolder, side: str, count: int) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        numbers = load_file(folder.tokens / f"{side}-reference.safetensors")["log_probs"]
    except (FileNotFoundError, KeyError, SafetensorError):
        return None
    return numbers if len(numbers) == count else None


def _write(folder: JobFolder, side: str, numbers: Any) -> None:
    from safetensors.torch import save_file

    path = folder.tokens / f"{side}-reference.safetensors"
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    save_file({"log_probs": numbers}, partial)
    partial.replace(path)
