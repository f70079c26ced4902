"""What scores owe to the run: the same examples asked again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retune.stats.intervals import proportion


@dataclass(frozen=True)
class Noise:
    """How two runs over the same examples differ."""

    share: float
    """Of the examples: their score changed."""
    low: float
    high: float
    """The exact interval of that share."""
    n: int
    """Examples asked twice."""
    variance: float
    """Of one example's score from run to run."""

    def error(self, n: int) -> float:
        """Return the standard error that this alone adds to the mean score of one run over n examples."""
        return math.sqrt(self.variance / n)


def compare_runs(first: Sequence[float], second: Sequence[float], confidence: float) -> Noise:
    """Return how the scores of two runs differ, the examples in the same order.

    The variance is half the mean square of the differences (Dahlberg 1940, "Statistical methods for
    medical and biological students", chapter 8: the error of double determinations).

    Args:
        first: Scores from 0 to 1.
        second: Those of the other run.
        confidence: Two-sided coverage of the interval, such as 0.95.

    Raises:
        ValueError: There is none, they are not as many, or one is not from 0 to 1.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} scores: give one of each run for each example")
    if wrong := [score for score in (*first, *second) if not 0 <= score <= 1]:
        raise ValueError(f"{len(wrong)} scores are not from 0 to 1, such as {wrong[0]}")
    apart = [one - other for one, other in zip(first, second, strict=True)]
    changed = sum(difference != 0 for difference in apart)
    low, high = proportion(changed, len(apart), confidence)
    variance = math.fsum(difference**2 for difference in apart) / (2 * len(apart))
    return Noise(changed / len(apart), low, high, len(apart), variance)
