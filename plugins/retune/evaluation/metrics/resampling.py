"""Bootstrap intervals of figures that are made of sums over examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from retune.records import MetricValue

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_RESAMPLES = 1000
# Counts that are held at once: 16 MB.
_AT_ONCE = 2_000_000


def units_of(groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the number of each example's independent unit: its group, or itself where it has none."""
    import numpy as np

    alone = [("", number) if group == "" else (group, -1) for number, group in enumerate(groups)]
    known = {unit: number for number, unit in enumerate(dict.fromkeys(alone))}
    return np.array([known[unit] for unit in alone], dtype=np.int64)


def resampled(table: Any, units: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """Return the columns' sums over 1,000 resamples of the units.

    Drawing counts and multiplying once is what makes it quick: no figure is computed from examples again.
    Whole units are drawn, as examples of one are not independent (Davison and Hinkley 1997, "Bootstrap
    Methods and their Application", section 3.8).

    Args:
        table: One row of numbers an example, an array or one of scipy's sparse arrays.
        units: Each example's independent unit.
        seed: Makes the draw repeatable.

    Returns:
        One row of sums a resample.
    """
    import numpy as np
    from scipy.sparse import csr_array

    examples, count = len(units), int(units.max()) + 1
    gathered = csr_array((np.ones(examples), (units, np.arange(examples))), shape=(count, examples))
    sums = gathered @ csr_array(table)
    generator = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // count)
    found = []
    for start in range(0, _RESAMPLES, step):
        rows = min(step, _RESAMPLES - start)
        drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        found.append(times.astype(np.float64) @ sums)
    return np.concatenate(found)


def resampled_value(
    table: Any,
    groups: Sequence[str],
    figure: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    confidence: float,
    seed: int,
) -> MetricValue:
    """Return a figure of sums over examples, with its percentile bootstrap interval.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.

    Args:
        table: One row of numbers an example, an array or one of scipy's sparse arrays.
        groups: What else each example belongs to; empty: itself only.
        figure: Takes the columns' sums, one row a resample, and returns the figure of each.
        confidence: Two-sided coverage.
        seed: Makes the interval repeatable.
    """
    import numpy as np

    sums = np.asarray(table.sum(axis=0), dtype=np.float64).reshape(1, -1)
    value = float(figure(sums)[0])
    figures = figure(resampled(table, units_of(groups), seed))
    low, high = np.quantile(figures, [(1 - confidence) / 2, (1 + confidence) / 2])
    # A skewed figure may lie outside of its percentiles.
    return MetricValue(value=value, low=min(float(low), value), high=max(float(high), value), n=len(groups))
