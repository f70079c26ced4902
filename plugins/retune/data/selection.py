"""Which examples a dataset holds, and on which side of the split each one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection

from retune.data import cleaning, duplicates, label_errors
from retune.data.drops import REASONS, Drops
from retune.data.duplicates import Distinct
from retune.data.firewall import stop_leaks
from retune.data.label_errors import LabelErrors
from retune.data.splits import SIDES, assign_sides
from retune.data.spool import Spool
from retune.spec import PipelineSpec
from retune.state import held_out, splits
from retune.text import near_duplicates

if TYPE_CHECKING:
    import polars as pl

EXAMPLE = (
    *("id", "fingerprint", "label", "file", "line", "stratum", "group", "slices", "time", "subject"),
    *("prompt_chars", "completion_chars", "segment", "place", "size", "mark"),
)
"""The columns of a table of examples."""
LEFT_OUT = ("bridges_split", "was_held_out")
"""Reasons for which an example gets no side, now or later."""


@dataclass(frozen=True)
class History:
    """What earlier datasets of the pipeline have settled.

    Attributes:
        sides: Fingerprint -> side.
        held_out: Fingerprint -> signature of all that was ever held out; None where none is known.
        left_out: Fingerprint -> why it got no side.
    """

    sides: Mapping[str, str] = field(default_factory=dict)
    held_out: Mapping[str, bytes | None] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, tx: Connection, pipeline: str) -> History:
        """Return what the state knows of a pipeline."""
        known = splits.assigned(tx, pipeline)
        left_out = {name: side for name, side in known.items() if side in LEFT_OUT}
        sides = {name: side for name, side in known.items() if side not in LEFT_OUT}
        return cls(sides, held_out.known(tx, pipeline), left_out)


@dataclass(frozen=True)
class Selection:
    """A dataset's examples.

    Attributes:
        examples: Sorted by id; the column `side` says where each one is.
        held_out: Fingerprint -> signature of what is held out now.
        drops: What was left out.
        near_pairs: Pairs of examples that are nearly the same and share a side.
        label_errors: Likely label errors by row of `judged`; None where they were not looked for.
        judged: The examples that were looked through for label errors.
    """

    examples: pl.DataFrame
    held_out: dict[str, bytes]
    drops: Drops
    near_pairs: int
    label_errors: LabelErrors | None
    judged: pl.DataFrame


def examples_of(rows: pl.DataFrame, drops: Drops) -> pl.DataFrame:
    """Return intake's rows without those that it had a reason against.

    Args:
        rows: One row a source row, as intake has it.
        drops: Takes what is left out.
    """
    import polars as pl

    for reason in REASONS:
        drops.add(rows.filter(pl.col("reason") == reason).select(*EXAMPLE, "detail"), reason)
    return rows.filter(pl.col("reason").is_null() & pl.col("flaw").is_null()).select(EXAMPLE)


def distinct(
    examples: pl.DataFrame, spec: PipelineSpec, spool: Spool, history: History, drops: Drops
) -> Distinct:
    """Leave out what is no example of the task, and copies.

    Args:
        examples: One a source row.
        spec: The frozen spec.
        spool: Has the texts.
        history: What is settled: its rows are kept rather than new ones.
        drops: Takes what is left out.
    """
    import polars as pl

    examples = cleaning.drop_unlisted(examples, spec.task.labels, drops)
    examples = cleaning.drop_duplicates(examples, drops)
    if spec.task.kind == "classification":
        examples = cleaning.drop_conflicts(examples, drops)
    signatures = duplicates.signatures_of(examples, spool)
    found = duplicates.find_links(examples, signatures, spec.data.split.leak_similarity)
    if spec.task.kind == "classification":
        found = duplicates.drop_near_conflicts(found, drops)
    earlier = pl.Series(list(history.sides), dtype=pl.String)
    return duplicates.drop_near_duplicates(found, spec.data.near_duplicates, earlier, spool, drops)


def select(
    found: Distinct,
    spec: PipelineSpec,
    spool: Spool,
    history: History,
    drops: Drops,
    report: Callable[[str], None],
) -> Selection:
    """Look for label errors, cap, split, and keep all else apart from what was ever held out.

    Args:
        found: What is left after `distinct`.
        spec: The frozen spec.
        spool: Has the texts.
        history: What is settled.
        drops: Takes what is left out.
        report: Takes a line of progress.
    """
    judged, errors = found.examples, None
    if spec.task.kind == "classification" and spec.data.label_errors != "off":
        labels = judged["label"].to_list()
        errors = label_errors.find(lambda rows: spool.prompts(judged[rows]), labels, spec.seed)
        report(errors.said)
        if spec.data.label_errors == "drop":
            found = _without_errors(found, errors, drops)
    found = _capped(found, spec, history, drops)
    examples, away = _split(found, spec, spool, history, drops)
    judged = judged if errors else judged.clear()
    return Selection(examples, away, drops, len(found.links), errors, judged)


def _without_errors(found: Distinct, errors: LabelErrors, drops: Drops) -> Distinct:
    import polars as pl

    kept = np.ones(found.examples.height, dtype=bool)
    kept[[suspect.row for suspect in errors.suspects]] = False
    said = {suspect.row: f"{suspect.given}, rather {suspect.suggested}" for suspect in errors.suspects}
    detail = pl.Series("detail", [said.get(row) for row in range(len(kept))], dtype=pl.String)
    drops.add(found.examples.with_columns(detail).filter(~kept), "label_error")
    return found.keep(kept)


def _capped(found: Distinct, spec: PipelineSpec, history: History, drops: Drops) -> Distinct:
    import polars as pl

    earlier = pl.Series(list(history.sides), dtype=pl.String)
    left = cleaning.cap(found.examples, spec.data.caps, earlier, spec.seed, drops)
    if left.height == found.examples.height:
        return found
    return found.keep(found.examples["id"].is_in(left["id"].implode()).to_numpy())


def _without_left_out(found: Distinct, history: History, drops: Drops) -> Distinct:
    """Leave out again what an earlier run could give no side, or the same rows would be another dataset."""
    import polars as pl

    reasons = [history.left_out.get(name) for name in found.examples["fingerprint"]]
    why = pl.Series(reasons, dtype=pl.String)
    for reason in LEFT_OUT:
        drops.add(found.examples.filter(why == reason), reason, "as before")
    return found.keep(why.is_null().to_numpy())


def _split(
    found: Distinct, spec: PipelineSpec, spool: Spool, history: History, drops: Drops
) -> tuple[pl.DataFrame, dict[str, bytes]]:
    import polars as pl

    found = _without_left_out(found, history, drops)
    examples = found.examples
    rank = {side: number for number, side in enumerate(SIDES)}
    ranks = [rank.get(history.sides.get(name, ""), len(rank)) for name in examples["fingerprint"]]
    links = [found.links, *(duplicates.stars(examples[name], ranks) for name in ("fingerprint", "group"))]
    numbered = examples.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
    shares = spec.data.split
    placed = assign_sides(numbered, np.concatenate(links), history.sides, shares, spec.seed, drops)
    away = (placed["side"] == "held_out").to_numpy()
    places = found.places[placed["row"].to_numpy()]
    # Links leave out what is rare to find; what comes to be held out now is looked for like what ever was.
    signatures = near_duplicates.to_bytes(found.signatures[places[away]])
    registry = dict(zip(placed["fingerprint"].filter(away), signatures, strict=True))
    watched = np.flatnonzero(~away)
    own = spool.array((len(watched), found.signatures.shape[1]), found.signatures.dtype)
    np.take(found.signatures, places[watched], axis=0, out=own, mode="clip")
    ever = {**history.held_out, **registry}
    safe = stop_leaks(placed, watched, own, ever, shares.leak_similarity, drops)
    return safe.drop("row"), registry
