"""A learning curve finds the law behind its points and does not dream up gains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.stats.learning_curve import Point, fit

points = st.builds(Point, st.integers(1, 100_000), st.floats(0, 1), st.integers(1, 5000))


def law(examples: int) -> float:
    return 1 - 0.1 - 2 * examples**-0.5


def test_points_on_a_power_law_give_it_back() -> None:
    curve = fit([Point(n, law(n), 100_000) for n in (50, 100, 200, 400, 800)], 0.9, 1)
    assert (curve.a, curve.b, curve.c) == pytest.approx((0.1, 2, 0.5), rel=0.1)
    assert curve.score(3200).value == pytest.approx(law(3200), abs=0.003)
    assert curve.gain(800).value == pytest.approx(law(1600) - law(800), abs=0.001)
    assert curve.gain(800, times=4).value > curve.gain(800).value


def test_the_band_holds_the_score_at_twice_the_data_about_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(1), 0
    for seed in range(60):
        judged = [Point(n, rng.binomial(300, law(n)) / 300, 300) for n in (100, 200, 400)]
        told = fit(judged, 0.9, seed).score(800)
        held += told.low <= law(800) <= told.high
    assert held >= 48


@pytest.mark.parametrize("scores", [(0.8, 0.8, 0.8), (0.9, 0.8, 0.7), (1, 1, 1), (0, 0, 0)])
def test_flat_or_falling_scores_promise_nothing(scores: tuple[float, ...]) -> None:
    curve = fit([Point(n, s, 200) for n, s in zip((100, 200, 400), scores, strict=True)], 0.9, 1)
    assert curve.gain(400).value == pytest.approx(0, abs=1e-9)
    assert curve.score(800).value == pytest.approx(np.mean(scores), abs=0.06)
    assert curve.gain(400).low == pytest.approx(0, abs=1e-9)


def test_noisier_points_make_wider_bands_and_farther_sizes_too() -> None:
    sure, unsure = (
        fit([Point(n, law(n), judged) for n in (100, 200, 400)], 0.9, 1) for judged in (5000, 100)
    )
    assert np.ptp(sure.score(800)[1:]) < np.ptp(unsure.score(800)[1:])
    assert np.ptp(sure.score(400)[1:]) < np.ptp(sure.score(6400)[1:])


@given(st.lists(points, min_size=3, max_size=6, unique_by=lambda point: point.examples), st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_any_points_give_scores_that_can_be_and_never_fall(measured: list[Point], seed: int) -> None:
    curve = fit(measured, 0.9, seed)
    largest = max(point.examples for point in measured)
    now, later = curve.score(largest), curve.score(2 * largest)
    assert -1e-9 <= later.low <= later.value <= later.high <= 1 + 1e-9
    assert later.value >= now.value - 1e-12
    assert curve.gain(largest).value == pytest.approx(later.value - now.value, abs=1e-9)
    assert curve.gain(largest).low >= -1e-12


def test_what_cannot_be_fitted_is_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(ValueError, match="2 sizes of training data: a curve needs 3") as caught:
        fit([Point(100, 0.5, 10), Point(100, 0.6, 10), Point(0, 1.5, 10)], 1.5, 1)
    assert "confidence is 1.5" in str(caught.value)
    assert "score=1.5" in str(caught.value)
