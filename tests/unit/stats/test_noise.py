"""Run-to-run noise is measured as it is."""

from __future__ import annotations

import numpy as np
import pytest

from retune.stats.noise import compare_runs


def test_the_share_that_changed_is_counted() -> None:
    found = compare_runs([1, 0, 1, 1, 0.5], [1, 1, 1, 0, 0.5], 0.95)
    assert found.share == pytest.approx(0.4)
    assert found.low == pytest.approx(0.0527, abs=1e-4)
    assert found.high == pytest.approx(0.8534, abs=1e-4)
    assert found.n == 5


def test_runs_that_agree_add_no_error() -> None:
    found = compare_runs([1, 0, 1], [1, 0, 1], 0.95)
    assert (found.share, found.low, found.variance, found.error(100)) == (0, 0, 0, 0)


def test_the_error_is_how_far_means_of_runs_lie_apart() -> None:
    rng = np.random.default_rng(1)
    chances = rng.beta(2, 1, 100)
    runs = rng.random((200, 100)) < chances
    found = [
        compare_runs(*runs[at : at + 2].astype(float).tolist(), 0.95).error(100) for at in range(0, 200, 2)
    ]
    assert np.mean(found) == pytest.approx(runs.mean(axis=1).std(), rel=0.2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [([], [], "0 and 0 scores"), ([1], [1, 0], "1 and 2 scores"), ([1, 2], [0, 0], "such as 2")],
)
def test_what_are_no_two_runs_is_refused(first: list[float], second: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_runs(first, second, 0.95)
