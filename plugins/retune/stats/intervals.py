"""Confidence intervals for proportions, their paired differences and resampled figures."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the score interval of a proportion.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference",
    JASA 22:209-212.

    Args:
        successes: How many of `n` succeeded.
        n: Trials, at least 1.
        confidence: Two-sided coverage, such as 0.95.
    """
    from scipy.stats import binomtest

    low, high = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    # Rounding must not move an end past the proportion itself.
    return 0.0 if successes == 0 else float(low), 1.0 if successes == n else float(high)


def paired_difference(
    both: int, first_only: int, second_only: int, neither: int, confidence: float
) -> tuple[float, float, float]:
    """Return the difference of two proportions measured on the same examples, with its interval.

    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17:2635-2650, method 10.

    Args:
        both: Examples that both answered rightly.
        first_only: Only the first did.
        second_only: Only the second did.
        neither: Neither did.
        confidence: Two-sided coverage.

    Returns:
        First less second, the low end, the high end.

    Raises:
        ValueError: There is no example.
    """
    n = both + first_only + second_only + neither
    if n == 0:
        raise ValueError("no examples to compare")
    first, second = both + first_only, both + second_only
    p1, p2 = first / n, second / n
    low1, high1 = wilson(first, n, confidence)
    low2, high2 = wilson(second, n, confidence)
    margins = first * (n - first) * second * (n - second)
    product = float(both * neither - first_only * second_only)
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

    difference = p1 - p2
    low = difference - reach(p1 - low1, high2 - p2)
    high = difference + reach(high1 - p1, p2 - low2)
    return difference, max(low, -1.0), min(high, 1.0)


def bootstrap(
    figure: Callable[[npt.NDArray[np.int64]], float],
    n: int,
    confidence: float,
    seed: int,
    resamples: int = 1000,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a figure over examples.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.

    Args:
        figure: Takes the indices of a resample and returns the figure.
        n: Examples to draw from.
        confidence: Two-sided coverage.
        seed: Makes the interval repeatable.
        resamples: How often to draw.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    figures = [figure(generator.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.quantile(figures, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
