"""Intervals agree with their sources and cover what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from retune.stats.intervals import paired_difference, proportion, wilson

counts = st.integers(min_value=0, max_value=400)


@pytest.mark.parametrize(("wins", "losses", "n"), [(12, 2, 50), (40, 25, 200), (3, 0, 100), (30, 30, 60)])
def test_paired_difference_is_where_the_shares_of_wins_and_losses_can_be(
    wins: int, losses: int, n: int
) -> None:
    """Zou and Donner 2008, equation 6, with the correlation of two cells of a multinomial."""
    low1, high1 = wilson(wins, n, 0.95)
    low2, high2 = wilson(losses, n, 0.95)
    p1, p2 = wins / n, losses / n
    correlation = -(p1 * p2) / np.sqrt(p1 * (1 - p1) * p2 * (1 - p2)) if losses else 0
    below, above = np.array([p1 - low1, high2 - p2]), np.array([high1 - p1, p2 - low2])
    covariance = np.array([[1, -correlation], [-correlation, 1]])
    expected = (p1 - p2 - np.sqrt(below @ covariance @ below), p1 - p2 + np.sqrt(above @ covariance @ above))
    assert paired_difference(n // 2 - wins, wins, losses, n - n // 2 - losses, 0.95)[1:] == pytest.approx(
        expected
    )


def test_paired_difference_agrees_with_the_normal_interval_where_pairs_are_many() -> None:
    value, low, high = paired_difference(60_000, 12_000, 8_000, 20_000, 0.95)
    reach = 1.96 * np.sqrt(0.2 - 0.04**2) / np.sqrt(100_000)
    assert (low, high) == pytest.approx((value - reach, value + reach), abs=2e-5)


@pytest.mark.parametrize(("discordant", "won"), [(0.05, 0.75), (0.05, 0.95), (0.1, 0.9)])
def test_paired_difference_covers_where_few_pairs_differ(discordant: float, won: float) -> None:
    """By exact enumeration at n = 100; Newcombe's method 10 covers 93% of the first."""
    n, gain = 100, discordant * won
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    covered = total = 0.0
    for wins in range(int(n * discordant) + 30):
        for losses in range(25):
            if wins + losses > n:
                continue
            chance = multinomial.pmf([wins, losses, n - wins - losses], n, shares)
            if chance > 1e-7:
                _, low, high = paired_difference(n - wins - losses, wins, losses, 0, 0.95)
                covered += chance * (low <= gain <= high)
                total += chance
    assert total > 0.999
    assert covered / total > 0.945


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97, 0.99, 0.995])
def test_the_exact_interval_of_a_proportion_covers_at_least_as_often_as_it_says(share: float) -> None:
    ends = [proportion(right, 100, 0.95) for right in range(101)]
    chances = binom.pmf(range(101), 100, share)
    assert (
        sum(chance for chance, (low, high) in zip(chances, ends, strict=True) if low <= share <= high) >= 0.95
    )


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
