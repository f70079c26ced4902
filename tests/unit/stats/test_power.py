"""What is said of the examples needed comes true about as often as it is said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retune.stats.power import detectable, needed
from retune.stats.sequential import paired_sequential


def drawn(rng: np.random.Generator, n: int, wins: float, losses: float) -> list[float]:
    values: list[float] = rng.choice([1.0, -1.0, 0.0], n, p=[wins, losses, 1 - wins - losses]).tolist()
    return values


@pytest.mark.parametrize(
    ("wins", "losses", "threshold"), [(24, 10, 0.0), (17, 17, -0.05), (10, 24, 0.0), (30, 14, 0.01)]
)
def test_four_of_five_are_settled_by_the_examples_that_are_named(
    wins: int, losses: int, threshold: float
) -> None:
    n, rng = 200, np.random.default_rng(1)
    seen = [1.0] * wins + [-1.0] * losses + [0.0] * (n - wins - losses)
    more = needed(seen, threshold, 0.95)
    assert more is not None
    settled = 0
    for _ in range(150):
        found = paired_sequential([*seen, *drawn(rng, more, wins / n, losses / n)], threshold, 0.95)
        settled += max(found.e_above, found.e_below) >= 20
    assert 0.7 < settled / 150 < 0.9


def test_nothing_is_needed_where_all_is_settled() -> None:
    assert needed([1] * 40 + [0] * 60, 0.0, 0.95) is None
    assert needed([-1] * 40 + [0] * 60, 0.0, 0.95) is None


def test_no_number_settles_a_mean_that_is_the_threshold() -> None:
    assert needed([1] * 10 + [-1] * 10 + [0] * 80, 0.0, 0.95) is None
    assert needed([0] * 30, 0.0, 0.95) is None


def test_more_are_needed_where_groups_answer_alike() -> None:
    few = [1] * 8 + [-1] * 5 + [0] * 40
    copied = [value for value in few for _ in range(3)]
    names = [f"{at // 3}" for at in range(len(copied))]
    alone, grouped, naive = needed(few, 0, 0.95), needed(copied, 0, 0.95, names), needed(copied, 0, 0.95)
    assert alone is not None and grouped is not None and naive is not None
    assert naive < alone < grouped
    assert grouped + len(copied) > 2.5 * (alone + len(few))


@pytest.mark.parametrize(("n", "discordant"), [(200, 0.2), (1000, 0.2), (500, 0.1)])
def test_a_gain_that_is_detectable_is_shown_in_four_of_five(n: int, discordant: float) -> None:
    gain, rng = detectable(discordant, n, 0.95), np.random.default_rng(2)
    pairs = discordant + gain**2
    shown = sum(
        paired_sequential(drawn(rng, n, (pairs + gain) / 2, (pairs - gain) / 2), 0.0, 0.95).e_above >= 20
        for _ in range(150)
    )
    assert 0.7 < shown / 150 < 0.92


def test_differences_and_their_variance_say_about_the_same() -> None:
    differences = [1] * 20 + [-1] * 20 + [0] * 160
    assert detectable(differences, 300, 0.95) == pytest.approx(detectable(0.2, 300, 0.95), rel=0.1)


def test_less_is_detectable_with_more_examples_and_less_confidence_and_fewer_discordant_pairs() -> None:
    middle = detectable(0.2, 300, 0.95)
    assert 0 < detectable(0.2, 3000, 0.95) < middle
    assert detectable(0.2, 300, 0.8) < middle
    assert detectable(0.05, 300, 0.95) < middle
    assert (
        detectable([1, 1, 1, -1, -1, -1] + [0] * 24, 300, 0.95, [f"{at // 3}" for at in range(30)]) > middle
    )
    assert detectable(0.2, 1, 0.95) == 1


def test_needed_and_detectable_refuse_what_they_cannot_use() -> None:
    with pytest.raises(ValueError, match="0 examples can show nothing"):
        detectable(0.2, 0, 0.95)
    with pytest.raises(ValueError, match="variance"):
        detectable(1.5, 10, 0.95)
    with pytest.raises(ValueError, match="variance"):
        detectable(math.nan, 10, 0.95)
    with pytest.raises(ValueError, match="confidence"):
        needed([0, 1], 0, 1.5)


@pytest.mark.filterwarnings("error")
def test_where_all_is_lost_nothing_more_can_be_seen() -> None:
    assert detectable([-1.0] * 10, 10, 0.95, ["anna"] * 5 + ["ben"] * 5) == 1
