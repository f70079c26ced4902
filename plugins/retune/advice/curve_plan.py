"""Parts of the training rows, to see what more rows would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retune.artifacts import Artifacts, canonical_json
from retune.errors import DataError
from retune.records import Artifact, Dataset, Split
from retune.spec.advice import Advising
from retune.text.conversations import read_conversation

SHARES = (0.25, 0.5, 1.0)
"""Parts of the training rows that a curve goes through; on the last one the run trains anyway."""
_LEAST_PART = 10
"""OpenAI takes no smaller file (Supervised fine-tuning, "Right number of examples")."""


@dataclass(frozen=True)
class Part:
    """A dataset whose training side is a part of another's.

    Attributes:
        dataset: A record of its own, so that what is trained on it is a job of its own.
        manifest: What its digest is of.
        row_ids: Which rows its training side holds.
    """

    dataset: Dataset
    manifest: Artifact
    row_ids: tuple[str, ...]


def curve_plan(rules: Advising, rows: int) -> tuple[int, ...]:
    """Return the sizes of training data that a learning curve goes through, the smallest first.

    Args:
        rules: The spec's section `advice`.
        rows: Rows that the run trains on; also the last size.

    Returns:
        Nothing where no curve is asked for, or where a quarter of the rows is too few to train on.
    """
    sizes = tuple(round(share * rows) for share in SHARES)
    return sizes if rules.learning_curve and sizes[0] >= _LEAST_PART else ()


def cut(dataset: Dataset, sizes: Sequence[int], artifacts: Artifacts) -> list[Part]:
    """Store parts of a dataset's training side, each with the same validation and held-out sides.

    Larger parts hold the smaller ones, and every label has its share of each. Which rows those are depends
    on nothing but the questions: rows come in the order of their fingerprints, so the same rows make the
    same parts in whatever order they stand, and a part's training is paid once.

    Args:
        dataset: The whole.
        sizes: Rows of each part.
        artifacts: Has the rows, and takes the parts.

    Returns:
        A part for each size, in their order; figures that are the whole's alone are left out of it.

    Raises:
        DataError: A size is no part of the rows, or the rows are not what the record says.
    """
    lines = artifacts.get_bytes(dataset.train.artifact.digest).splitlines(keepends=True)
    wrong = sorted(size for size in sizes if not 0 < size <= len(lines))
    if wrong:
        what = f"parts of {', '.join(map(str, wrong))} rows cannot be cut from {len(lines)}"
        raise DataError(what, "ask for at least one row and no more than there are")
    # Not the rows themselves: a million of them would not fit into memory as objects.
    ids, fingerprints, labels = [], [], []
    for row in map(read_conversation, lines):
        ids.append(row.id)
        fingerprints.append(row.fingerprint)
        labels.append(row.completion if dataset.labels else "")
    order = _spread(labels, fingerprints)
    parts = []
    for size in sizes:
        # As the whole file has them: in the order of the ids.
        chosen = sorted(order[:size])
        data = b"".join(lines[place] for place in chosen)
        parts.append(_part(dataset, data, tuple(ids[place] for place in chosen), artifacts))
    return parts


def _spread(labels: Sequence[str], fingerprints: Sequence[str]) -> list[int]:
    """Return the places of all rows so that the first n hold about the same share of each label."""
    by_label: dict[str, list[int]] = {}
    for place in sorted(range(len(labels)), key=fingerprints.__getitem__):
        by_label.setdefault(labels[place], []).append(place)
    keys = {
        place: ((rank + 0.5) / len(places), fingerprints[place])
        for places in by_label.values()
        for rank, place in enumerate(places)
    }
    return sorted(keys, key=keys.__getitem__)


def _part(dataset: Dataset, data: bytes, row_ids: tuple[str, ...], artifacts: Artifacts) -> Part:
    train = Split(artifact=artifacts.put_bytes(data, dataset.train.artifact.media_type), rows=len(row_ids))
    sides = {"train": train, "validation": dataset.validation, "held_out": dataset.held_out}
    manifest = {side: {"digest": split.artifact.digest, "rows": split.rows} for side, split in sides.items()}
    # The same recipe of bytes as a whole dataset's, so that a part of all rows is the whole.
    stored = artifacts.put_bytes(canonical_json(manifest), "application/json")
    record = dataset.model_copy(
        update={
            "digest": stored.digest,
            "train": train,
            "tokens": {},
            "card": None,
            "figures": None,
            "dropped_rows": None,
        }
    )
    return Part(record, stored, row_ids)
