"""Thresholds of drift: chance passes them as seldom as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from retune.stats import drift_threshold

PAIRS = 500
# Three standard errors above one in a hundred.
MOST = 0.01 + 3 * (0.01 * 0.99 / PAIRS) ** 0.5
SIZES = st.integers(min_value=1, max_value=10**6)


@pytest.mark.parametrize("values", [10**6, 4], ids=["lengths", "few distinct values"])
def test_ks_distance_keeps_its_rate(values: int) -> None:
    random = np.random.default_rng(1)
    bound = drift_threshold.ks_distance(120, 90, floor=0)
    pairs = (random.integers(values, size=(2, 120)) for _ in range(PAIRS))
    over = sum(ks_2samp(old, new[:90], method="asymp").statistic >= bound for old, new in pairs)
    assert over / PAIRS <= MOST


@pytest.mark.parametrize("labels", [2, 77])
def test_jensen_shannon_keeps_its_rate_also_where_labels_are_rare(labels: int) -> None:
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.ones(labels))
    bound = drift_threshold.jensen_shannon(shares, 120, 90, seed=7, floor=0)
    old, new = (random.multinomial(n, shares, size=PAIRS) / n for n in (120, 90))
    # The bound is drawn too.
    assert (jensenshannon(old, new, axis=1) >= bound).mean() <= 0.01 + 3 * (2 * 0.01 * 0.99 / PAIRS) ** 0.5


@given(SIZES, SIZES)
def test_thresholds_never_fall_below_what_matters(n: int, m: int) -> None:
    assert drift_threshold.ks_distance(n, m) >= drift_threshold.ks_distance(n + 1, m) >= 0.1
    assert drift_threshold.auc(n, m) >= drift_threshold.auc(n, m + 1) >= 0.55


def test_the_seed_decides() -> None:
    bounds = {drift_threshold.jensen_shannon([0.2, 0.8], 100, 100, seed=1) for _ in range(3)}
    assert len(bounds) == 1
    assert drift_threshold.jensen_shannon([1.0], 100, 100, seed=1) == 0.1
