"""Perplexity: of tokens, not of examples, and absent where nobody tells it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.evaluation.metrics import Task
from retune.records import Outcome
from tests.unit.evaluation.metrics.builders import measure, outcome

TASK = Task(kind="generation")


def found(logprob: float | None, tokens: int = 0, group: str = "") -> Outcome:
    """An outcome whose expected text was so likely."""
    told = {"expected_logprob": logprob, "expected_tokens": tokens, "group": group}
    return outcome("yes", "no", TASK).model_copy(update=told)


@given(st.lists(st.tuples(st.floats(-50, 0), st.integers(1, 30)), min_size=1, max_size=20))
def test_it_is_the_mean_over_all_tokens(told: list[tuple[float, int]]) -> None:
    value = measure("perplexity", [found(*one) for one in told], TASK)["perplexity"]
    logprobs, tokens = zip(*told, strict=True)
    assert value.value == pytest.approx(np.exp(-np.sum(logprobs) / np.sum(tokens)))
    assert value.low <= value.value <= value.high and value.n == len(told)
    assert not value.higher_is_better


def test_the_interval_takes_whole_groups() -> None:
    alone = measure("perplexity", [found(-n % 7 - 1.0, 1) for n in range(40)], TASK)["perplexity"]
    grouped = [found(-n % 7 - 1.0, 1, group=str(n % 7)) for n in range(40)]
    assert measure("perplexity", grouped, TASK)["perplexity"].high > alone.high


def test_examples_of_which_nothing_is_told_are_left_out() -> None:
    value = measure("perplexity", [found(-2.0, 1), found(None)], TASK)["perplexity"]
    assert (value.value, value.n) == (pytest.approx(np.e**2), 1)


@pytest.mark.parametrize("told", [None, -9999.0])
def test_what_is_not_told_or_impossible_is_absent(
    told: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure("perplexity", [found(told, 1)], TASK) == {}
    assert "perplexity is not measured" in capsys.readouterr().out
