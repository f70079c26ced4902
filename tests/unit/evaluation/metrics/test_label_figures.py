"""The figures of a classification agree with scikit-learn."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support

from retune.evaluation.metrics import Task
from retune.stats.intervals import proportion
from tests.unit.evaluation.metrics.builders import measure, outcome, outcomes

LABELS = ("a", "b", "c", "d")
TASK = Task(labels=LABELS)
rows = st.lists(
    st.tuples(st.sampled_from(LABELS[:3]), st.sampled_from([*LABELS, "e", ""])), min_size=1, max_size=60
)


@settings(max_examples=20, deadline=None)
@given(rows)
def test_f1_agrees_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    found = outcomes(pairs, TASK)
    expected, answered = zip(*pairs, strict=True)
    for average in ("macro", "weighted"):
        name = f"{average}_f1"
        ours = measure(name, found, TASK)[name]
        names = sorted(set(expected))
        theirs = f1_score(expected, answered, labels=names, average=average, zero_division=0)
        assert ours.value == pytest.approx(theirs)
        assert 0 <= ours.low <= ours.value <= ours.high <= 1
    accuracy = measure("accuracy", found, TASK)["accuracy"]
    assert accuracy.value == pytest.approx(sum(e == p for e, p in pairs) / len(pairs))
    assert accuracy.low <= accuracy.value <= accuracy.high


@settings(max_examples=20, deadline=None)
@given(rows)
def test_precision_and_recall_agree_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    expected, answered = zip(*pairs, strict=True)
    ours = measure("per_label", outcomes(pairs, TASK), TASK)
    precision, recall, _, support = precision_recall_fscore_support(
        expected, answered, labels=LABELS, zero_division=0
    )
    for number, label in enumerate(LABELS):
        said = answered.count(label)
        assert (f"precision[{label}]" in ours) == (said > 0)
        assert (f"recall[{label}]" in ours) == (support[number] > 0)
        if said:
            found = ours[f"precision[{label}]"]
            assert (found.value, found.n) == (pytest.approx(precision[number]), said)
        if support[number]:
            found = ours[f"recall[{label}]"]
            assert (found.value, found.n) == (pytest.approx(recall[number]), support[number])
    assert len(ours) == len(set(answered) & set(LABELS)) + len(set(expected))


def test_a_set_of_one_class_has_the_f1_of_that_class() -> None:
    found = outcomes([("a", "a"), ("a", "b"), ("a", "a"), ("a", "?")], TASK)
    for name in ("macro_f1", "weighted_f1"):
        assert measure(name, found, TASK)[name].value == pytest.approx(2 * 2 / (4 + 2))
    assert set(measure("per_label", found, TASK)) == {"precision[a]", "recall[a]", "precision[b]"}


def test_answers_that_name_a_label_are_counted_right_or_wrong() -> None:
    said = [("a", "a"), ("a", "b"), ("a", "e"), ("a", ""), ("a", "A"), ("a", "a.")]
    found = [*outcomes(said, TASK), outcome("a", "a", TASK, error="timeout")]
    assert measure("valid_label", found, TASK)["valid_label"].value == pytest.approx(2 / 7)
    assert measure("valid_label", found, Task()) == {}


def test_a_failed_call_is_wrong_in_every_figure() -> None:
    found = [outcome("a", "a", TASK, error="timeout") for _ in range(3)]
    for name in ("accuracy", "macro_f1", "weighted_f1", "valid_label", "exact_match"):
        assert measure(name, found, TASK)[name].value == 0
    assert set(measure("per_label", found, TASK)) == {"recall[a]"}


def test_the_interval_widens_where_examples_belong_together() -> None:
    lone = [outcome(LABELS[n % 2], "a" if n % 10 < 4 else LABELS[n % 2], TASK) for n in range(200)]
    by_right = sorted(lone, key=lambda one: one.correct)
    tied = [one.model_copy(update={"group": str(n // 20)}) for n, one in enumerate(by_right)]
    for name in ("accuracy", "macro_f1", "weighted_f1"):
        apart, together = measure(name, lone, TASK)[name], measure(name, tied, TASK)[name]
        assert apart.value == pytest.approx(together.value)
        assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_groups_that_are_all_right_leave_doubt() -> None:
    found = [outcome("a", "a", TASK, group=str(n // 10)) for n in range(100)]
    value = measure("accuracy", found, TASK)["accuracy"]
    alone = measure("accuracy", found[::10], TASK)["accuracy"]
    assert (value.value, value.low, value.n) == (1, alone.low, 100)


def test_the_same_seed_gives_the_same_interval() -> None:
    found = outcomes([("a", "a"), ("b", "a"), ("b", "b")] * 20, TASK)
    assert measure("macro_f1", found, TASK) == measure("macro_f1", found, TASK)


def test_the_intervals_are_those_of_the_textbook() -> None:
    draw = random.Random(3)
    pairs = [(e, e if draw.random() < 0.7 else draw.choice(LABELS)) for e in draw.choices("abc", k=300)]
    found = outcomes(pairs, TASK)
    expected, answered = (np.array(side) for side in zip(*pairs, strict=True))

    def macro(rows: npt.NDArray[np.int64]) -> float:
        e, a = expected[rows], answered[rows]
        return float(
            np.mean([2 * np.sum((e == n) & (a == n)) / np.sum((e == n) * 1 + (a == n)) for n in "abc"])
        )

    ours = measure("macro_f1", found, TASK)["macro_f1"]
    theirs = scipy.stats.bootstrap(
        (np.arange(300),), macro, n_resamples=1000, vectorized=False, method="percentile", rng=8
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)
    accuracy = measure("accuracy", found, TASK)["accuracy"]
    assert (accuracy.low, accuracy.high) == proportion(sum(e == a for e, a in pairs), 300, 0.95)
