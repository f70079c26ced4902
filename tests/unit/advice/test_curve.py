"""Parts of the training rows, and what a curve through them says."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.advice.curve import curve_finding
from retune.advice.curve_plan import curve_plan, cut
from retune.artifacts import Artifacts
from retune.errors import DataError
from retune.records import Dataset, Split
from retune.spec.advice import Advising
from retune.stats.learning_curve import Point
from retune.text.conversations import conversation, read_conversations, write_conversations
from tests.unit.advice.builders import dataset, spec

ASKED = Advising(learning_curve=True)


def stored(artifacts: Artifacts, labels: list[str]) -> Dataset:
    rows = sorted(
        (conversation("", f"question {n}", label) for n, label in enumerate(labels)), key=lambda row: row.id
    )
    train = artifacts.put_bytes(write_conversations(rows), "application/jsonl")
    return dataset().model_copy(
        update={"train": Split(artifact=train, rows=len(rows)), "tokens": {"base": 5}}
    )


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path.as_uri())


def test_a_curve_is_planned_only_where_it_is_asked_for() -> None:
    assert curve_plan(Advising(), 700) == ()
    assert curve_plan(ASKED, 700) == (175, 350, 700)
    assert curve_plan(ASKED, 40) == (10, 20, 40)
    assert curve_plan(ASKED, 37) == ()


@given(st.integers(40, 10_000))
def test_three_different_sizes_are_planned_and_the_last_is_the_whole(rows: int) -> None:
    sizes = curve_plan(ASKED, rows)
    assert list(sizes) == sorted(set(sizes)) and len(sizes) == 3 and sizes[-1] == rows


def test_parts_are_nested_and_hold_each_labels_share(artifacts: Artifacts) -> None:
    labels = ["billing"] * 60 + ["shipping"] * 30 + ["returns"] * 10
    whole = stored(artifacts, labels)
    parts = cut(whole, (25, 50, 100), artifacts)
    assert [part.dataset.train.rows for part in parts] == [25, 50, 100]
    for part, size in zip(parts, (25, 50, 100), strict=True):
        rows = read_conversations(artifacts.get_bytes(part.dataset.train.artifact.digest))
        assert tuple(row.id for row in rows) == part.row_ids == tuple(sorted(part.row_ids))
        for label, count in Counter(row.completion for row in rows).items():
            assert abs(count - labels.count(label) * size / 100) <= 1
    small, half, all_of_them = (set(part.row_ids) for part in parts)
    assert small < half < all_of_them


def test_a_part_is_a_dataset_of_its_own(artifacts: Artifacts) -> None:
    whole = stored(artifacts, ["billing", "shipping"] * 10)
    half, most = (part.dataset for part in cut(whole, (10, 15), artifacts))
    assert len({half.digest, most.digest, whole.digest}) == 3
    assert artifacts.exists(half.digest)
    assert (half.validation, half.held_out, half.labels) == (whole.validation, whole.held_out, whole.labels)
    # Tokens are those of the whole; a backend counts a part's.
    assert (half.tokens, half.card, half.figures) == ({}, None, None)
    (again,) = cut(whole, (10,), artifacts)
    assert again.dataset == half


def test_the_order_of_the_file_does_not_change_a_part(artifacts: Artifacts) -> None:
    whole = stored(artifacts, ["billing", "shipping", "returns"] * 10)
    lines = artifacts.get_bytes(whole.train.artifact.digest).splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    train = artifacts.put_bytes(b"".join(lines), "application/jsonl")
    shuffled = whole.model_copy(update={"train": Split(artifact=train, rows=len(lines))})
    (one,), (other,) = cut(whole, (7,), artifacts), cut(shuffled, (7,), artifacts)
    assert set(one.row_ids) == set(other.row_ids)


def test_free_texts_are_one_stratum(artifacts: Artifacts) -> None:
    whole = stored(artifacts, [f"answer {n}" for n in range(20)]).model_copy(update={"labels": ()})
    (part,) = cut(whole, (5,), artifacts)
    rows = read_conversations(artifacts.get_bytes(whole.train.artifact.digest))
    first = sorted(rows, key=lambda row: row.fingerprint)[:5]
    assert set(part.row_ids) == {row.id for row in first}


def test_sizes_that_are_no_parts_are_refused_together(artifacts: Artifacts) -> None:
    whole = stored(artifacts, ["billing", "shipping"] * 10)
    with pytest.raises(DataError, match="parts of 0, 21 rows cannot be cut from 20"):
        cut(whole, (0, 10, 21), artifacts)


def test_a_curve_that_still_rises_asks_for_rows_with_the_price_of_the_next_point() -> None:
    rising = [Point(250, 0.5, 5000), Point(500, 0.65, 5000), Point(1000, 0.755, 5000)]
    found = curve_finding(rising, 0.01, spec())
    assert found.speaks_for == "collect_more_data"
    assert found.value == pytest.approx(0.0735, abs=0.01)
    assert found.low is not None and found.high is not None and found.low <= 0.0735 <= found.high
    assert found.sentence.startswith("With 2,000 rows instead of 1,000 accuracy would be about 0.8")
    assert found.sentence.endswith("more rows help; that training would cost about 20.00 USD.")


def test_a_curve_that_is_flat_asks_for_none() -> None:
    flat = [Point(250, 0.8, 20_000), Point(500, 0.8, 20_000), Point(1000, 0.8, 20_000)]
    found = curve_finding(flat, None, spec())
    assert (found.speaks_for, found.action) == (None, "look at labels, recipe and base model instead")
    assert "more rows of this kind help little; nobody knows what that training would cost" in found.sentence


def test_a_curve_through_few_judged_examples_says_that_it_cannot_tell() -> None:
    unsure = [Point(250, 0.70, 40), Point(500, 0.72, 40), Point(1000, 0.74, 40)]
    assert "whether more rows help cannot be told" in curve_finding(unsure, 0.0, spec()).sentence


def test_points_of_which_no_curve_can_be_made_say_why() -> None:
    found = curve_finding([Point(250, 0.5, 100), Point(500, 0.6, 100)], 0.01, spec())
    assert found.value is None
    assert found.sentence == "No learning curve can be laid: 2 sizes of training data: a curve needs 3."
