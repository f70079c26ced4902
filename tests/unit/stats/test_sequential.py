"""The method that decides: valid, free of the order, and at one with its own bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from retune.stats.sequential import bets, growth, paired_sequential
from retune.stats.units import Units, units

answers = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60)
graded = st.lists(st.floats(-1, 1), min_size=1, max_size=30)
thresholds = st.floats(-0.5, 0.5)


@given(st.data(), answers | graded, thresholds)
@settings(deadline=None, max_examples=60)
def test_the_order_of_the_examples_is_nothing_to_it(
    data: st.DataObject, differences: list[float], threshold: float
) -> None:
    groups = data.draw(
        st.lists(st.sampled_from(["", "anna", "ben"]), min_size=len(differences), max_size=len(differences))
    )
    order = data.draw(st.permutations(range(len(differences))))
    one = paired_sequential(differences, threshold, 0.95, groups)
    other = paired_sequential(
        [differences[at] for at in order], threshold, 0.95, [groups[at] for at in order]
    )
    assert one == other


@given(answers | graded, thresholds, st.floats(0.8, 0.99))
@example([1] * 40, 0.0, 0.95)
@example([-1] * 40, 0.0, 0.95)
@example([0] * 200, -0.1, 0.95)
@settings(deadline=None, max_examples=60)
def test_bounds_and_evidence_say_the_same(
    differences: list[float], threshold: float, confidence: float
) -> None:
    found = paired_sequential(differences, threshold, confidence)
    assert -1 <= found.low <= found.value <= found.high <= 1
    # At the very bound either answer is right.
    assume(abs(found.low - threshold) > 1e-9 and abs(found.high - threshold) > 1e-9)
    assert (found.e_above >= 1 / (1 - confidence)) == (found.low > threshold)
    assert (found.e_below >= 1 / (1 - confidence)) == (found.high < threshold)


@given(answers | graded, thresholds)
@settings(deadline=None, max_examples=60)
def test_exchanging_the_contenders_mirrors_it(differences: list[float], threshold: float) -> None:
    one = paired_sequential(differences, threshold, 0.95)
    other = paired_sequential([-value for value in differences], -threshold, 0.95)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
    assert (one.e_above, one.e_below) == pytest.approx((other.e_below, other.e_above), rel=1e-9)


@pytest.mark.parametrize("largest", [1, 4, 40])
@pytest.mark.parametrize("threshold", [-0.5, -0.01, 0.0, 0.05, 0.5])
def test_a_bet_is_fair_at_the_threshold_and_never_loses_all(largest: int, threshold: float) -> None:
    """At most 1 is expected of every stake, whatever the distribution: shown on those with two values."""
    stakes, weights = bets(largest)
    assert weights.sum() == pytest.approx(1)
    for low in np.linspace(-1, threshold, 5):
        for high in np.linspace(threshold, 1, 5)[1:]:
            kinds = Units(np.array([low, high]) * largest, np.full(2, float(largest)), np.ones(2))
            factors = np.exp(growth(kinds, threshold))
            wins = (threshold - low) / (high - low)
            assert factors @ [1 - wins, wins] == pytest.approx(1)
            assert (factors > 0).all()


def test_the_chance_of_ever_being_misled_is_below_the_level_by_exact_count() -> None:
    """All paths of fair single answers, looked at after each: no simulation."""
    looks, level = 120, 0.05
    kinds = units([-1, 1])
    logs, weights = growth(kinds, 0.0), bets(1)[1]
    alive, misled = {0: 1.0}, 0.0
    for asked in range(1, looks + 1):
        after: dict[int, float] = {}
        for wins, chance in alive.items():
            after[wins] = after.get(wins, 0) + chance / 2
            after[wins + 1] = after.get(wins + 1, 0) + chance / 2
        alive = {}
        for wins, chance in after.items():
            if weights @ np.exp(logs @ [asked - wins, wins]) >= 1 / level:
                misled += chance
            else:
                alive[wins] = chance
    assert sum(alive.values()) + misled == pytest.approx(1)
    assert 0.01 < misled <= level


def test_groups_that_answer_alike_prove_no_more_than_one_example_each() -> None:
    """Four copies of each example prove far less than four times as many examples."""
    few = [1] * 16 + [-1] * 8 + [0] * 56
    copied = [value for value in few for _ in range(4)]
    names = [f"{at // 4}" for at in range(len(copied))]
    alone = paired_sequential(few, 0.0, 0.95)
    grouped = paired_sequential(copied, 0.0, 0.95, names)
    naive = paired_sequential(copied, 0.0, 0.95)
    assert grouped.value == alone.value == naive.value
    assert naive.e_above > 20 > grouped.e_above
    assert 1 < grouped.e_above <= alone.e_above


def test_the_mixture_is_close_to_the_integral_that_it_stands_for() -> None:
    """24 stakes are enough: the log-normal density over the stake, integrated, and a tenth on 0.95 say it."""

    def density(stake: float) -> float:
        return math.exp(-0.5 * (math.log(stake / 0.2) / 0.5) ** 2) / stake

    def wealth(stake: float) -> float:
        return math.exp(120 * math.log1p(stake) + 80 * math.log1p(-stake))

    above, _ = quad(lambda stake: density(stake) * wealth(stake), 0.01, 0.95, limit=200)
    below, _ = quad(density, 0.01, 0.95, limit=200)
    found = paired_sequential([1] * 120 + [-1] * 80 + [0] * 800, 0.0, 0.95)
    assert found.e_above == pytest.approx(0.9 * above / below + 0.1 * wealth(0.95), rel=0.02)


@pytest.mark.parametrize(("margin", "needed"), [(0.01, 532), (0.02, 264), (0.05, 104)])
def test_models_that_answer_alike_are_soon_shown_not_to_be_worse(margin: float, needed: int) -> None:
    proof = 1 / (1 - 0.95)
    assert paired_sequential([0.0] * needed, -margin, 0.95).e_above >= proof
    assert paired_sequential([0.0] * (needed - 2), -margin, 0.95).e_above < proof


def test_evidence_without_end_stays_a_number() -> None:
    found = paired_sequential([1] * 5000, 0.0, 0.95)
    assert math.isfinite(found.e_above)
    assert found.low > 0.99


@pytest.mark.parametrize(
    ("threshold", "confidence"), [(1, 0.95), (-1, 0.95), (float("nan"), 0.95), (0, 1), (0, 0)]
)
def test_thresholds_and_confidences_out_of_range_are_refused(threshold: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="give one between"):
        paired_sequential([0, 1], threshold, confidence)
