"""How many examples the test that decides would need, and what a number of them can show.

The wealth of `retune.stats.sequential` is carried on: each further example is taken to be like those
seen, so that the logarithm of each stake's wealth grows by its mean (the expected growth of Kelly 1956,
"A new interpretation of information rate", Bell System Technical Journal 35:917-926). The mixture's cost
is in it, as the mixture itself is carried on. From the expected growth goes what chance takes in one of
five cases: 0.84 standard deviations. So "would likely" is about 80%, if the true mean is what was seen;
a mean seen on few examples is itself far from sure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from retune.stats.sequential import check, growth, log_wealth, mixed
from retune.stats.units import Units, units

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_LIKELY = 0.8416
"""Standard deviations below which one case in five lies."""
_MOST = 1_000_000
_BISECTIONS = 40


def needed(
    differences: Sequence[float],
    threshold: float,
    confidence: float,
    groups: Sequence[str] | None = None,
) -> int | None:
    """Return how many examples more would likely settle on which side of a threshold the mean lies.

    Args:
        differences: First score less second, from -1 to 1, one an example.
        threshold: Between -1 and 1.
        confidence: Of each side, such as 0.95.
        groups: Each example's group; an empty name: it stands alone. None: all stand alone.

    Returns:
        None where it is settled, or where a million would not do, as at a mean that is the threshold.

    Raises:
        ValueError: As of `paired_sequential`.
    """
    check(threshold, confidence)
    data, wanted = units(differences, groups), -math.log(1 - confidence)
    if data.mean < threshold:
        data, threshold = data.mirrored(), -threshold
    if max(log_wealth(data, threshold), log_wealth(data.mirrored(), -threshold)) >= wanted:
        return None
    logs = growth(data, threshold)
    so_far = logs @ data.counts
    size = data.n / float(data.counts.sum())
    enough, short = _MOST, 0
    if _likely(data, logs, so_far, enough / size) < wanted:
        return None
    while enough - short > 1:
        middle = (enough + short) // 2
        # Convex in the number of units: below what is wanted at 0, it passes it once.
        if _likely(data, logs, so_far, middle / size) >= wanted:
            enough = middle
        else:
            short = middle
    return enough


def detectable(
    differences: Sequence[float] | float,
    n: int,
    confidence: float,
    groups: Sequence[str] | None = None,
) -> float:
    """Return how far a mean must lie from a threshold for n examples to show it likely.

    Args:
        differences: Such as the n examples would bring; or their variance, up to 1: the share of
            discordant pairs where scores are right or wrong and the contenders are about equal, against 0.
        n: Examples, at least 1.
        confidence: Of the one side, such as 0.95.
        groups: As of `needed`; with differences only.

    Returns:
        Above 0; 1 where not even that would be seen.

    Raises:
        ValueError: As of `paired_sequential`, or the variance is not from 0 to 1, or n is below 1.
    """
    check(0.0, confidence)
    if n < 1:
        raise ValueError(f"{n} examples can show nothing: give 1 or more")
    if not isinstance(differences, int | float):
        data = units(differences, groups)
        return _least(lambda gap: (data, data.mean - gap), min(1.0, 1 + data.mean), n, confidence)
    variance = float(differences)
    if not 0 <= variance <= 1:
        raise ValueError(f"the variance of a difference lies between 0 and 1 here, not at {variance}")
    return _least(lambda gap: (_answers(variance, gap), 0.0), 1.0, n, confidence)


def _least(at: Callable[[float], tuple[Units, float]], most: float, n: int, confidence: float) -> float:
    """Bisect for the least gap that n examples like those of `at`, against its threshold, likely show."""
    if not most:
        # All is lost already: no threshold lies below.
        return 1.0
    low, high = 0.0, most
    for _ in range(_BISECTIONS):
        gap = (low + high) / 2
        data, threshold = at(gap)
        logs = growth(data, threshold)
        number = n * float(data.counts.sum()) / data.n
        if _likely(data, logs, 0 * logs[:, 0], number) >= -math.log(1 - confidence):
            high = gap
        else:
            low = gap
    return high


def _answers(variance: float, gain: float) -> Units:
    """Return differences of right and wrong answers with this variance, as far as the gain admits it."""
    import numpy as np

    differing = min(max(variance + gain**2, gain), 1.0)
    shares = np.array([differing - gain, 2 - 2 * differing, differing + gain]) / 2
    return Units(np.array([-1.0, 0, 1]), np.ones(3), shares * _MOST)


def _likely(data: Units, logs: Floats, so_far: Floats, more: float) -> float:
    """Return the logarithm of the wealth that is passed in four of five cases after more units."""
    import numpy as np

    shares = data.counts / data.counts.sum()
    means = logs @ shares
    deviations = np.sqrt((logs - means[:, None]) ** 2 @ shares)
    # What hurts one stake hurts all, the small ones less: they carry the mixture in the bad cases.
    return mixed(so_far + more * means - _LIKELY * math.sqrt(more) * deviations, data.largest)
