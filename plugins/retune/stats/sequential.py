"""The method that decides: a paired test by betting, valid however often one looks.

A bettor starts with 1 and bets that the mean of the differences lies above a value m. If it does
not, the wealth is a nonnegative supermartingale, so it ever reaches 1 / alpha with probability
alpha at most (Ville 1939): an e-process, which may be looked at after every example and stopped
at any time. The bounds are the values m against which the wealth has not reached 1 / alpha.

Sources: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting",
JRSS-B 86:1-27 (the capital process; the hedged capital confidence sequence, theorem 3, here with
its two sides apart). Bets that are fixed beforehand and mixed, which is what makes the result
free of the order of the examples: Cover 1991, "Universal portfolios", Mathematical Finance 1:1-29,
and Orabona and Jun 2024, "Tight concentrations and confidence sequences from the regret of
universal portfolio", IEEE Transactions on Information Theory 70:436-455.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from retune.stats.units import Units, units

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_BETS, _LARGEST_BET, _LEAST_BET = 24, 0.95, 0.01
_TYPICAL_BET, _SPREAD = 0.2, 0.5
_ALL_IN = 0.1
_LARGEST_LOG = 700.0
_BISECTIONS = 50


@dataclass(frozen=True)
class Sequential:
    """What is shown of the mean of paired differences."""

    value: float
    """The mean difference."""
    low: float
    """The mean lies above it, at the confidence asked for, one-sided."""
    high: float
    """The mean lies below it, at the confidence asked for, one-sided."""
    e_above: float
    """Evidence that the mean lies above the threshold; shown at confidence c from 1 / (1 - c) on."""
    e_below: float
    """Evidence that the mean lies below the threshold; likewise."""


def paired_sequential(
    differences: Sequence[float],
    threshold: float,
    confidence: float,
    groups: Sequence[str] | None = None,
) -> Sequential:
    """Test the mean of paired differences against a threshold, at any number of examples.

    The sides are tested apart, each at `confidence`. `low >= threshold` says the same as
    `e_above >= 1 / (1 - confidence)`, and so do `high` and `e_below`. With groups a group is one
    bet, on the sum of its differences less the threshold, and its examples may depend on one
    another as they like; the sizes of the groups count as given before any score is seen, and one
    large group makes all bets small.

    Args:
        differences: First score less second, from -1 to 1, one an example.
        threshold: Between -1 and 1.
        confidence: Of each side, such as 0.95.
        groups: Each example's group; an empty name: it stands alone. None: all stand alone.

    Raises:
        ValueError: There is no example, a difference is out of range or NaN, the groups are not as
            many as the differences, or threshold or confidence are out of range.
    """
    check(threshold, confidence)
    data = units(differences, groups)
    mirrored = data.mirrored()
    return Sequential(
        value=data.mean,
        low=_low(data, confidence),
        high=-_low(mirrored, confidence),
        e_above=e_value(log_wealth(data, threshold)),
        e_below=e_value(log_wealth(mirrored, -threshold)),
    )


def check(threshold: float, confidence: float) -> None:
    """Raise ValueError where a threshold of differences or a confidence is out of range."""
    if not -1 < threshold < 1:
        raise ValueError(f"the threshold is {threshold}: give one between -1 and 1")
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is {confidence}: give one between 0 and 1")


@cache
def bets(largest: int) -> tuple[Floats, Floats]:
    """Return shares of the wealth to stake on one example, and their weights in the mixture.

    The best stake is about the gain over the variance of a difference: 0.15 to 0.5 where 20% of the
    pairs are discordant and the gain is 3 to 10 points. The weights are log-normal about 0.2 with a
    spread of 0.5, so that these gains cost little against knowing the best stake, and twice the
    discordance or a quarter of it still lies within two spreads. A tenth goes on the largest stake, the
    best one where two models answer almost alike: to show that identical answers are not worse by a
    margin of 0.05 takes 104 examples instead of 166.

    Args:
        largest: Examples of the largest group: all of them may lose together, so that the stakes
            end at 0.95 of the wealth for a whole group.
    """
    import numpy as np

    most = _LARGEST_BET / largest
    stakes = np.geomspace(min(_LEAST_BET, most / 10), most, _BETS)
    weights = np.exp(-0.5 * (np.log(stakes / _TYPICAL_BET) / _SPREAD) ** 2)
    weights *= (1 - _ALL_IN) / weights.sum()
    weights[-1] += _ALL_IN
    return stakes, weights


def growth(data: Units, mean: float) -> Floats:
    """Return the logarithm of what each stake makes of 1 on each kind of unit, against `mean` or less.

    Args:
        data: The units.
        mean: Above -1.

    Returns:
        Stakes by kinds of units.
    """
    import numpy as np

    stakes, _ = bets(data.largest)
    # The bet on d - mean, per unit of what can be lost at most: 1 + mean. It falls as mean rises.
    odds = (data.sums + data.sizes) / (1 + mean) - data.sizes
    return np.log1p(stakes[:, None] * odds)


def log_wealth(data: Units, mean: float) -> float:
    """Return the logarithm of the wealth against "the mean is `mean` or less"."""
    return mixed(growth(data, mean) @ data.counts, data.largest)


def mixed(logs: Floats, largest: int) -> float:
    """Return the logarithm of the mixture over the stakes, from the logarithm of each one's wealth."""
    import numpy as np

    _, weights = bets(largest)
    top = float(logs.max())
    return top + math.log(float(weights @ np.exp(logs - top)))


def e_value(log: float) -> float:
    """Return the e-value of a logarithm of wealth, at most about 1e304, so that it stays a number."""
    return math.exp(min(log, _LARGEST_LOG))


def _low(data: Units, confidence: float) -> float:
    """Bisect for the largest mean that the wealth refutes: the wealth falls as the mean rises."""
    wanted = -math.log(1 - confidence)
    low, high = -1.0, data.mean
    if high == low:
        return low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if log_wealth(data, middle) >= wanted else (low, middle)
    return low
