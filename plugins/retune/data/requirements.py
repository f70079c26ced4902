"""What stops a preparation beside the expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retune.data.collect import Collected
from retune.data.drops import Drops
from retune.errors import Problem
from retune.spec import PipelineSpec

if TYPE_CHECKING:
    import polars as pl

SHOWN_PROBLEMS = 20


def flaws(collected: Collected) -> list[Problem]:
    """Return what is wrong with rows that are no conversations (the first 20 and the count of the rest)."""
    rows = collected.rows.filter(collected.rows["flaw"].is_not_null())
    named = rows.head(SHOWN_PROBLEMS).select("flaw", "action", "file", "line").iter_rows()
    problems = [Problem(*said) for said in named]
    if rows.height > SHOWN_PROBLEMS:
        more = f"and {rows.height - SHOWN_PROBLEMS:,} more problems"
        problems.append(Problem(more, "mend these first"))
    action = "add rows, or take it out of data.sources"
    tally = collected.tally
    return problems + [
        Problem("holds no row", action, name) for name in tally.digests if not tally.rows[name]
    ]


def too_few(examples: pl.DataFrame, spec: PipelineSpec, drops: Drops) -> list[Problem]:
    """Return what is wrong where fewer examples are left than `data.min_examples`."""
    found, least = examples.height, spec.data.min_examples
    if found >= least:
        return []
    gone = ", ".join(f"{count:,} {reason}" for reason, count in drops.counts.items() if count)
    what = f"{found} examples are left, and data.min_examples is {least} (dropped: {gone or 'none'})"
    return [Problem(what, "add rows")]


def nothing_to_learn(examples: pl.DataFrame, spec: PipelineSpec) -> list[Problem]:
    """Return what is wrong with the labels of a classification: one only, or single examples."""
    problems = one_label(examples, spec)
    counts = dict(examples["label"].value_counts().iter_rows())
    single = sorted(label for label, count in counts.items() if count < 2)
    if single and spec.task.kind == "classification":
        what = f"one example only for {len(single)} labels: {', '.join(map(repr, single[:20]))}"
        problems.append(Problem(what, "add rows, or list in task.labels only those that count"))
    return problems


def one_label(examples: pl.DataFrame, spec: PipelineSpec) -> list[Problem]:
    """Return what is wrong where all examples of a classification have one label."""
    labels = examples["label"].unique()
    if spec.task.kind != "classification" or len(labels) != 1:
        return []
    what = f"all {examples.height} examples have the label {labels[0]!r}"
    return [Problem(what, "add rows of other labels: there is nothing to learn")]
