"""Distances that chance alone does not reach: thresholds for drift.

A p-value falls with the number of rows until any trifle is "drift"; a fixed distance is passed by
chance where rows are few. So a column has moved when its distance passes what matters (a fixed
floor) and also what two samples of the same population reach once in `1 / alpha` times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

ALPHA = 0.01


def ks_distance(n: int, m: int, floor: float = 0.1, alpha: float = ALPHA) -> float:
    """Return the threshold of the Kolmogorov-Smirnov distance of samples of n and m values.

    Smirnov's asymptotic bound; with ties (counts, lengths) it errs towards no drift.

    Args:
        n: Values on one side.
        m: Values on the other.
        floor: The least share of rows whose move matters.
        alpha: How often chance may reach the threshold.
    """
    return max(floor, math.sqrt(-math.log(alpha / 2) / 2 * (n + m) / (n * m)))


def auc(n: int, m: int, floor: float = 0.55, alpha: float = ALPHA) -> float:
    """Return the threshold of the ROC AUC that tells n from m rows by an out-of-fold score.

    The normal bound of the Mann-Whitney statistic, one-sided: only above 0.5 is telling apart.
    Out-of-fold scores spread wider than independent ones, as the folds' models share rows: by
    1.38 and 1.40 on the data of benchmarks/drift_false_alarms.py, here taken as the root of 2.

    Args:
        n: Rows on one side.
        m: Rows on the other.
        floor: The least AUC that matters.
        alpha: How often chance may reach the threshold.
    """
    error = math.sqrt(2 * (n + m + 1) / (12 * n * m))
    return max(floor, 0.5 + NormalDist().inv_cdf(1 - alpha) * error)


def jensen_shannon(
    shares: Sequence[float],
    n: int,
    m: int,
    seed: int,
    floor: float = 0.1,
    alpha: float = ALPHA,
    draws: int = 2000,
) -> float:
    """Return the threshold of the Jensen-Shannon distance (natural logarithm) of two label counts.

    Drawn, not from a formula: the chi-square approximation is unreliable where labels are rare.

    Args:
        shares: The labels' shares in the population; they add up to 1.
        n: Rows on one side.
        m: Rows on the other.
        seed: Of the draws.
        floor: The least distance that matters.
        alpha: How often chance may reach the threshold.
        draws: How many pairs of samples are drawn.
    """
    import numpy as np
    from scipy.spatial.distance import jensenshannon

    random = np.random.default_rng(seed)
    left = random.multinomial(n, shares, size=draws) / n
    right = random.multinomial(m, shares, size=draws) / m
    return max(floor, float(np.quantile(jensenshannon(left, right, axis=1), 1 - alpha)))
