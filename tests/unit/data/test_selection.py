"""What a dataset holds of the rows that came in, and that every other row is accounted for."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.data.drops import REASONS
from tests.unit.data.choosing import QUEUES, choose, close, remember, rows_of, said, side
from tests.unit.data.conftest import Project

WORDS = {
    "billing": ["invoice", "refund", "charge", "payment", "receipt"],
    "shipping": ["parcel", "courier", "tracking", "delivery", "address"],
    "returns": ["broken", "exchange", "warranty", "damaged", "replace"],
}


def told_apart(each: int) -> list[dict[str, Any]]:
    """Rows whose words tell their queue; the first three of all have the next queue's label."""
    rng = random.Random(3)
    rows = [
        {"text": " ".join(rng.choices(words, k=6) + rng.choices("abcdefghijklmnop", k=9)), "queue": queue}
        for queue, words in WORDS.items()
        for _ in range(each)
    ]
    rng.shuffle(rows)
    queues = list(WORDS)
    for row in rows[:3]:
        row["queue"] = queues[(queues.index(row["queue"]) + 1) % 3]
    return rows


def test_likely_label_errors_are_reported_or_dropped_or_not_looked_for(project: Project) -> None:
    project.rows(told_apart(60))
    first = choose(project, project.spec(label_errors="report", near_duplicates=1))
    dropped = choose(project, project.spec(label_errors="drop", near_duplicates=1))
    off = choose(project, project.spec(label_errors="off", near_duplicates=1))
    gone = said(dropped, "label_error")
    assert {line for _, _, line, _ in gone} >= {1, 2, 3} and len(gone) < 10
    given = dict(enumerate(told_apart(60), start=1))
    for _, _, line, detail in gone:
        label, _, other = detail.partition(", rather ")
        assert label == given[line]["queue"] and other in WORDS and other != label
    for kept in (first, off):
        assert kept.drops.counts["label_error"] == 0
        assert kept.examples.height == 180
    assert dropped.examples.height == 180 - len(gone)
    assert not {line for _, _, line, _ in gone} & set(dropped.examples["line"])


@pytest.mark.parametrize(("label", "source"), [(20, None), (None, 50), (20, 50)])
def test_caps_hold_and_keep_whom_earlier_datasets_hold(
    project: Project, label: int | None, source: int | None
) -> None:
    project.rows(rows_of(1, 150), "a.jsonl")
    project.rows(rows_of(2, 150), "b.jsonl")
    caps = {"label": label, "source": source}
    spec = project.spec("*.jsonl", label_errors="off", caps=caps)
    first = choose(project, spec)
    assert first.drops.counts["capped"]
    for column, most in (("label", label), ("file", source)):
        counts = dict(first.examples[column].value_counts().iter_rows())
        assert all(count <= (most or 999) for count in counts.values())
    project.rows(rows_of(3, 200), "a.jsonl")
    project.rows([*rows_of(1, 150), *rows_of(2, 150)], "b.jsonl")
    again = choose(
        project, project.spec("*.jsonl", label_errors="off", caps={"label": label}), remember(first)
    )
    kept = set(again.examples["id"])
    missing = first.examples.filter(~pl.col("id").is_in(kept))
    why = set(again.drops.frame.filter(pl.col("id").is_in(missing["id"].implode()))["reason"])
    assert why <= {"conflict", "bridges_split"}


def test_groups_and_near_copies_stay_together(project: Project) -> None:
    rows = [{**row, "who": f"c{n // 3}"} for n, row in enumerate(rows_of(4, 400))]
    project.rows(rows)
    spec = project.spec(label_errors="off", near_duplicates=1, split={"group_by": "who"})
    found = choose(project, spec)
    assert set(Counter(found.examples["side"])) == {"train", "validation", "held_out"}
    for column in ("group", "fingerprint"):
        sides = found.examples.group_by(column).agg(pl.col("side").n_unique())
        assert sides["side"].to_list() == [1] * sides.height
    assert not close(side(found, "train"), side(found, "held_out") + side(found, "validation"), 0.66)


def test_how_similar_gives_away_is_the_spec_s_word(project: Project) -> None:
    rows = [
        {"text": f"please tell me about order {name} of last week", "queue": QUEUES[n % 4]}
        for n, name in enumerate(f"{a}{b}" for a in "bcdfghjk" for b in "aeiou")
    ]
    project.rows(rows)
    strict = choose(project, project.spec(label_errors="off", near_duplicates=1))
    assert len(set(strict.examples["side"])) == 1 and strict.near_pairs > 100
    loose = project.spec(label_errors="off", near_duplicates=1, split={"leak_similarity": 1})
    assert Counter(choose(project, loose).examples["side"]) == {"train": 28, "validation": 4, "held_out": 8}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(st.integers(0, 10**6), st.integers(30, 200), st.integers(1, 60), st.sampled_from([0.7, 0.9, 1]))
def test_every_row_is_kept_or_left_out_for_a_reason_and_later_ones_move_nobody(
    project: Project, seed: int, count: int, more: int, threshold: float
) -> None:
    rows, later = rows_of(seed, count), rows_of(seed, count + more)[count:]
    spec = project.spec("*.jsonl", label_errors="off", near_duplicates=threshold)
    (project.root / "later.jsonl").unlink(missing_ok=True)
    project.rows(rows)
    first = choose(project, spec)
    project.rows(later, "later.jsonl")
    second = choose(project, spec, remember(first))
    for found, read in ((first, count), (second, count + more)):
        lines = [*found.examples.select("file", "line").rows(), *(row[1:3] for row in said(found))]
        assert len(lines) == len(set(lines)) == read
        assert {row[0] for row in said(found)} <= set(REASONS)
        assert found.examples["id"].is_sorted() and found.examples["id"].n_unique() == found.examples.height
        held_out = found.examples.filter(pl.col("side") == "held_out")
        assert found.held_out.keys() == set(held_out["fingerprint"])
    before = dict(first.examples.select("fingerprint", "side").iter_rows())
    after = dict(second.examples.select("fingerprint", "side").iter_rows())
    assert {name: after[name] for name in before if name in after} == {
        name: side for name, side in before.items() if name in after
    }
    gone = second.drops.frame.filter(
        pl.col("fingerprint").is_in([name for name in before if name not in after])
    )
    assert set(gone["reason"]) <= {"conflict", "duplicate", "near_duplicate", "bridges_split"}
    least = spec.data.split.leak_similarity
    assert not close(side(second, "train"), side(second, "held_out") + side(first, "held_out"), least)
