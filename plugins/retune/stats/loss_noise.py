"""How much of a loss's ups and downs is noise, and whether it falls at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Points = Sequence[tuple[int, float]]
"""Step and value, by step."""
BLOCKS = 12
"""Most levels that a curve is seen as."""
_FEWEST = 5
_ALPHA = 0.01


def blocks(points: Points) -> list[tuple[int, float]]:
    """Return at most 12 levels of a curve, each the mean of as many points, at the step of the middle one."""
    count = min(BLOCKS, len(points))
    edges = [round(number * len(points) / count) for number in range(count + 1)] if count else []
    found = []
    for low, high in zip(edges, edges[1:], strict=False):
        part = points[low:high]
        found.append((part[len(part) // 2][0], sum(value for _, value in part) / len(part)))
    return found


def scatter(points: Points) -> float:
    """Return the standard deviation of a block by second differences, which a trend does not reach.

    Source: Gasser, Sroka and Jennen-Steinmetz 1986, "Residual variance and residual pattern in nonlinear
    regression", Biometrika 73:625-633. Where few points bend sharply it is too large.

    Returns:
        0 where fewer than 5 points cannot tell.
    """
    import numpy as np

    if len(points) < _FEWEST:
        return 0.0
    bends = np.abs(np.diff([value for _, value in points], 2))
    return deviation(bends) / math.sqrt(6 * len(points) / min(BLOCKS, len(points)))


def unrest(points: Points) -> float:
    """Return how far blocks lie from the nearest curve that only falls and then only rises.

    The root of the mean square. Unimodal regression: Frisén 1986, The Statistician 35:479-485. A sharp
    bend is no noise here, so it serves where points are few.
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    values = np.array([value for _, value in blocks(points)])
    lowest = int(values.argmin())
    down = isotonic_regression(values[: lowest + 1], increasing=False).x
    up = isotonic_regression(values[lowest:], increasing=True).x
    return float(np.sqrt(np.mean((np.concatenate([down, up[1:]]) - values) ** 2)))


def deviation(apart: npt.NDArray[np.float64]) -> float:
    """Return a standard deviation by the median of absolute deviations; larger where these are few."""
    import numpy as np

    return (1 + 5 / len(apart)) * 1.4826 * float(np.median(apart))


def falls(points: Points) -> bool:
    """Say whether a loss falls, at 1 in 100 by chance: a rank test, which a few wild steps do not move.

    Source: Mann 1945, "Nonparametric tests against trend", Econometrica 13:245-259.
    """
    from scipy.stats import kendalltau

    values = [value for _, value in points]
    if len(set(values)) == 1:
        return False
    return bool(kendalltau(range(len(values)), values, alternative="less").pvalue < _ALPHA)
