"""Intervals agree with their sources and cover what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.stats.intervals import bootstrap, paired_difference, wilson

counts = st.integers(min_value=0, max_value=400)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        # Newcombe 1998, table III, method 10: (e, f, g, h) and its limits.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_paired_difference_matches_the_published_examples(
    cells: tuple[int, int, int, int], low: float, high: float
) -> None:
    _, found_low, found_high = paired_difference(*cells, confidence=0.95)
    assert found_low == pytest.approx(low, abs=2e-4)
    assert found_high == pytest.approx(high, abs=2e-4)


@given(counts, counts, counts, counts)
def test_swapping_the_contenders_mirrors_the_interval(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        with pytest.raises(ValueError, match="no examples"):
            paired_difference(a, b, c, d, 0.95)
        return
    value, low, high = paired_difference(a, b, c, d, 0.95)
    mirrored, mirrored_low, mirrored_high = paired_difference(a, c, b, d, 0.95)
    assert -1 <= low <= value <= high <= 1
    assert (mirrored, mirrored_low, mirrored_high) == pytest.approx((-value, -high, -low), abs=1e-9)


def test_paired_difference_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    cells = (0.55, 0.2, 0.1, 0.15)
    draws = generator.multinomial(200, cells, size=600)
    covered = 0
    for draw in draws:
        _, low, high = paired_difference(*(int(count) for count in draw), confidence=0.95)
        covered += low <= cells[1] - cells[2] <= high
    assert covered / len(draws) > 0.93


def test_wilson_stays_within_zero_and_one_at_the_ends() -> None:
    assert wilson(0, 20, 0.95)[0] == pytest.approx(0, abs=1e-9)
    assert wilson(20, 20, 0.95)[1] == pytest.approx(1, abs=1e-9)
    assert wilson(8, 10, 0.95) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_bootstrap_is_repeatable_and_close_to_the_normal_interval() -> None:
    sample = np.random.default_rng(3).normal(size=400)
    first = bootstrap(lambda rows: float(sample[rows].mean()), 400, 0.95, seed=5)
    again = bootstrap(lambda rows: float(sample[rows].mean()), 400, 0.95, seed=5)
    reach = 1.96 * sample.std() / 20
    assert first == again
    assert first == pytest.approx((sample.mean() - reach, sample.mean() + reach), abs=0.02)
