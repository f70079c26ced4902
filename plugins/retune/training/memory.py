"""Out of memory: told apart from other failures, and answered with what would fit."""

from __future__ import annotations

import gc
import resource
from collections.abc import Sequence
from typing import Any

from retune.errors import BackendError
from retune.training import loss
from retune.training.batches import Collator, Example
from retune.training.hyperparameters import Hyperparameters
from retune.training.tokens import TokenRows

_SHORTEST = 16
_GIB = 2**30
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether a failure means that memory ran out, on a GPU or on the host."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in _WORDS)


def peak_gib() -> float:
    """Return the most memory that this process has held: on the GPU if it has one, else on the host."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / _GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB


def advice(
    model: Any, collator: Collator, examples: Sequence[Example], given: Hyperparameters
) -> BackendError:
    """Return the error for a training that ran out of memory: what was asked, and what was seen to fit.

    It tries the longest examples, half as many each time, and then half as long each time.

    Args:
        model: The model with its adapter, of this process alone.
        collator: Makes the training side's batches.
        examples: What they are made of.
        given: The job's hyperparameters.
    """
    lengths = collator.rows.lengths
    ordered = sorted(examples, key=lambda example: -sum(lengths[row] for row in example))
    longest = sum(lengths[row] for row in ordered[0])
    peak = peak_gib()
    what = (
        f"out of memory with batch_size {given.batch_size} and up to {longest} tokens a row"
        f" (max_length {given.max_length}); at most {peak:.1f} GiB were held"
    )
    size = given.batch_size
    while (size := size // 2) >= 1:
        if _fits(model, collator, ordered[:size], given.beta):
            times = -(-given.batch_size // size) * given.gradient_accumulation
            action = f"batch_size {size} fits (tried on the longest rows); with gradient_accumulation {times}"
            return BackendError(what, f"{action} it learns the same")
    length = longest
    while (length := length // 2) >= _SHORTEST:
        if _fits(model, *_cut(collator, ordered[0], length), given.beta):
            return BackendError(
                what,
                f"not even one such row fits; batch_size 1 with max_length {length} does (tried):"
                " shorten the rows, or choose a smaller base model",
            )
    return BackendError(what, "not even one short row fits: choose a smaller base model, or tuning qlora")


def forget(error: BaseException) -> None:
    """Free what the frames of a failure still hold."""
    import traceback

    import torch

    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = error.__context__ = error.__cause__ = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _fits(model: Any, collator: Collator, batch: Sequence[Example], beta: float) -> bool:
    """Try one step's forward and backward pass, with the optimizer's two numbers a weight set aside."""
    import torch

    model.zero_grad(set_to_none=True)
    model.train()
    device = next(model.parameters()).device
    try:
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        aside = [torch.zeros(2, *weight.shape, device=device) for weight in trained]
        found, _ = loss.sums(model, loss.moved(collator(batch), device), beta)
        found.sum().backward()
        del aside
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        forget(error)
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return True


def _cut(collator: Collator, example: Example, length: int) -> tuple[Collator, list[Example]]:
    """Return an example shortened to a length, with its collator."""
    rows = [collator.rows.row(row) for row in example]
    each = max(2, length // len(rows))
    short = TokenRows.make([(ids[:each].tolist(), [True] * len(ids[:each])) for ids, _ in rows])
    reference = None if collator.reference is None else collator.reference[: len(rows)]
    return Collator(short, collator.in_one_line, collator.pad_token, reference), [tuple(range(len(rows)))]
