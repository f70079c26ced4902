"""Metrics agree with scikit-learn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from retune.evaluation.metrics import METRICS
from retune.records import Outcome

labels = st.sampled_from(["a", "b", "c"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(labels, st.sampled_from(["a", "b", "c", "d", ""])), min_size=1, max_size=60))
def test_macro_f1_agrees_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    outcomes = [
        Outcome(
            id=str(index),
            prompt="",
            expected=expected,
            answer=predicted,
            predicted=predicted,
            correct=expected == predicted,
            latency_s=0,
        )
        for index, (expected, predicted) in enumerate(pairs)
    ]
    expected, predicted = zip(*pairs, strict=True)
    names = sorted(set(expected))
    theirs = f1_score(expected, predicted, labels=names, average="macro", zero_division=0)
    ours = METRICS["macro_f1"](outcomes, 0.95, 1)
    assert ours.value == pytest.approx(theirs)
    assert 0 <= ours.low <= ours.high <= 1
    accuracy = METRICS["accuracy"](outcomes, 0.95, 1)
    assert accuracy.value == pytest.approx(sum(e == p for e, p in pairs) / len(pairs))
    assert accuracy.low <= accuracy.value <= accuracy.high
