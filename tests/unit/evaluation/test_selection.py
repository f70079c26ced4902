"""Recipes compete on the validation set, and nothing else decides who is judged."""

from __future__ import annotations

from typing import Any

import pytest

from retune.errors import DataError, EndpointError
from retune.evaluation.selection import choose
from retune.records import EvalReport, MetricValue
from tests.unit.evaluation.gate.builders import report, spec


def scored(value: float, higher_is_better: bool = True, **changed: Any) -> EvalReport:
    """A report of 100 validation examples."""
    metric = MetricValue(value=value, low=0, high=1, n=100, higher_is_better=higher_is_better)
    return report("candidate", [], "validation", n=100, metrics={"accuracy": metric}).model_copy(
        update=changed
    )


def test_the_highest_wins_and_of_equals_the_first() -> None:
    assert choose([scored(0.5), scored(0.8), scored(0.8), scored(0.7)], spec()) == 1
    assert choose([scored(0.0)], spec()) == 0


def test_a_metric_of_which_less_is_better_is_turned() -> None:
    assert choose([scored(value, higher_is_better=False) for value in (0.5, 0.2, 0.2, 0.9)], spec()) == 1
    with pytest.raises(DataError, match="disagree whether a higher accuracy is better"):
        choose([scored(0.5), scored(0.5, higher_is_better=False)], spec())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.5])
def test_a_recipe_without_a_value_stops_the_choice(value: float) -> None:
    with pytest.raises(DataError, match=rf"(?s)has {value} of accuracy.*has no accuracy"):
        choose([scored(0.9), scored(value), scored(0.5, metrics={})], spec())


def test_recipes_are_compared_on_one_validation_set_only() -> None:
    with pytest.raises(DataError, match="no recipe was evaluated"):
        choose([], spec())
    with pytest.raises(DataError, match="validation set only"):
        choose([scored(0.5), scored(0.5, set_name="held_out")], spec())
    with pytest.raises(DataError, match="different validation sets"):
        choose([scored(0.5), scored(0.5, set_digest="sha256:other")], spec())


def test_failed_calls_stop_the_choice() -> None:
    with pytest.raises(EndpointError, match="2 of 100 calls failed"):
        choose([scored(0.5), scored(0.9, failed=2)], spec())
    assert choose([scored(0.5), scored(0.9, failed=1)], spec()) == 1
