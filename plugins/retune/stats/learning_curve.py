"""What more data would bring: a power law through the scores of trainings on parts of it.

The error, 1 - score, is taken to fall as a + b * n^-c (Cortes et al. 1994, "Learning curves: asymptotic
values and rate of convergence", NIPS 6; Hestness et al. 2017, arXiv:1712.00409). For each rate c the two
linear parameters are solved exactly (variable projection: Golub and Pereyra 1973, SIAM Journal on
Numerical Analysis 10:413-432) and never below 0, so flat or falling scores give a flat curve. Such
curves foretell twice the data better than ten times (Viering and Loog 2023, "The shape of learning
curves: a review", IEEE TPAMI 45:7799-7819).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

Figure = Callable[[float, float, float], float]
FEWEST = 3
"""Sizes of training data through which a curve can be laid."""
_SLOWEST, _FASTEST, _RATES = 0.05, 2.0, 60
_DRAWS = 500


class Point(NamedTuple):
    """One training on part of the data."""

    examples: int
    """It was trained on."""
    score: float
    """From 0 to 1, higher is better."""
    n: int
    """Examples that it was judged on."""


class Estimate(NamedTuple):
    """A figure with its band."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """Score by number of training examples: 1 - a - b * examples^-c."""

    a: float
    """The error that no data takes away."""
    b: float
    c: float
    confidence: float
    """Two-sided, of the bands."""
    draws: tuple[tuple[float, float, float], ...]
    """Curves (a, b, c) through scores drawn about those that were measured."""

    def score(self, examples: int) -> Estimate:
        """Return the score foretold for a training on this many examples."""
        return self._band(lambda a, b, c: 1 - a - b * examples**-c)

    def gain(self, examples: int, times: float = 2) -> Estimate:
        """Return what `times` as much data as these examples would add to the score."""
        return self._band(lambda a, b, c: b * examples**-c * (1 - times**-c))

    def _band(self, figure: Figure) -> Estimate:
        import numpy as np

        value = figure(self.a, self.b, self.c)
        ends = [(1 - self.confidence) / 2, (1 + self.confidence) / 2]
        low, high = np.quantile([figure(*draw) for draw in self.draws], ends)
        return Estimate(value, min(float(low), value), max(float(high), value))


def fit(points: Sequence[Point], confidence: float, seed: int) -> LearningCurve:
    """Lay a curve through points, each weighted by how surely it is known.

    Args:
        points: At least three, of different sizes.
        confidence: Two-sided, of the bands: such as 0.9. They hold chance in the judging and, where
            trainings differ by chance, not that; points judged on one set vary less against each other
            than the bands take them to.
        seed: Of the draws.

    Raises:
        ValueError: There are fewer than three sizes, or a point cannot be; all that is wrong is said.
    """
    import numpy as np

    if problems := _problems(points, confidence):
        raise ValueError("; ".join(problems))
    sizes, scores, judged = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    # Agresti and Coull's centre keeps a perfect score from weighing endlessly.
    centres = (scores * judged + 2) / (judged + 4)
    errors = np.sqrt(centres * (1 - centres) / judged)
    drawn = np.random.default_rng(seed).normal(scores, errors, size=(_DRAWS, len(points))).clip(0, 1)
    curves = _fitted(sizes, 1 - np.vstack([scores, drawn]), errors**-2)
    (a, b, c), *others = [(float(a), float(b), float(c)) for a, b, c in curves]
    return LearningCurve(a, b, c, confidence, tuple(others))


def _problems(points: Sequence[Point], confidence: float) -> list[str]:
    sizes = {point.examples for point in points}
    found = [] if 0 < confidence < 1 else [f"the confidence is {confidence}: give one between 0 and 1"]
    if len(sizes) < FEWEST:
        found.append(f"{len(sizes)} sizes of training data: a curve needs {FEWEST}")
    for point in points:
        if not (point.examples >= 1 and point.n >= 1 and 0 <= point.score <= 1):
            found.append(f"{point} is not a score from 0 to 1 on examples of either kind")
    return found


def _fitted(sizes: Floats, errors: Floats, weights: Floats) -> Floats:
    """Return a, b and c of each row of errors: the least squares over a grid of rates."""
    import numpy as np

    best = np.full(len(errors), np.inf)
    curves = np.zeros((len(errors), 3))
    total = weights.sum()
    mean = errors @ weights / total
    for rate in np.geomspace(_SLOWEST, _FASTEST, _RATES):
        # Scaled by the least size: powers stay near 1.
        shape = (sizes / sizes.min()) ** -rate
        middle = shape @ weights / total
        slope = (errors * (shape - middle)) @ weights / (((shape - middle) ** 2) @ weights)
        floor = mean - slope * middle
        through = errors @ (weights * shape) / (shape**2 @ weights)
        below = floor < 0
        slope, floor = np.where(below, through, slope), np.where(below, 0.0, floor)
        flat = slope < 0
        slope, floor = np.where(flat, 0.0, slope), np.where(flat, mean, floor)
        misses = ((errors - floor[:, None] - slope[:, None] * shape) ** 2) @ weights
        better = misses < best
        best = np.where(better, misses, best)
        found = np.column_stack([floor, slope * sizes.min() ** rate, np.full(len(errors), rate)])
        curves[better] = found[better]
    return curves
