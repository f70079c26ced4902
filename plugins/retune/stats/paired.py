"""Classical figures of paired differences, shown beside the sequential test that decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retune.stats.units import group_sums, units

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_RESAMPLES = 4000
_PERMUTATIONS = 9999


def mcnemar_exact(first_only: int, second_only: int) -> float:
    """Return the two-sided p-value against "both are right equally often".

    Source: McNemar 1947, Psychometrika 12:153-157, in its exact form: a binomial test of the pairs
    that differ. It agrees with statsmodels' `mcnemar(exact=True)`.

    Args:
        first_only: Examples that only the first got right.
        second_only: Examples that only the second did.
    """
    from scipy.stats import binomtest

    differing = first_only + second_only
    return float(binomtest(first_only, differing).pvalue) if differing else 1.0


def paired_bootstrap(
    differences: Sequence[float],
    confidence: float,
    seed: int,
    groups: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Return the bootstrap interval of the mean difference, drawn by examples or by whole groups.

    The plain percentile interval (Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
    chapter 13) covers too rarely where few pairs differ: at 95%, 100 examples and 5 discordant
    pairs, in 89% of samples (benchmarks/interval_coverage.py). So it is drawn from the examples and
    two more, one win and one loss, those of Bonett and Price 2012, "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data", Journal of Educational
    and Behavioral Statistics 37:479-488. Groups are drawn whole (Cameron, Gelbach and Miller 2008,
    Review of Economics and Statistics 90:414-427), and the two are of the groups' mean size.

    Args:
        differences: First score less second, from -1 to 1, one an example.
        confidence: Two-sided coverage, such as 0.95.
        seed: Makes the interval repeatable.
        groups: Each example's group; an empty name: it stands alone. None: all stand alone.

    Raises:
        ValueError: As of `units`.
    """
    import numpy as np

    data = units(differences, groups)
    number = int(data.counts.sum())
    size = data.n / number
    sums = np.concatenate([data.sums, [-size, size]])
    sizes = np.concatenate([data.sizes, [size, size]])
    shares = np.concatenate([data.counts, [1.0, 1.0]]) / (number + 2)
    drawn = np.random.default_rng(seed).multinomial(number, shares, size=_RESAMPLES)
    means = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return min(float(low), data.mean), max(float(high), data.mean)


def harm(differences: Sequence[float], groups: Sequence[str] | None = None, seed: int = 0) -> float:
    """Return the one-sided p-value against "the mean difference is 0 or more": small where harm is shown.

    Where the units' sums are whole numbers of one size, as single right and wrong answers are, the
    exact binomial test of signs (Dixon and Mood 1946, JASA 41:557-566). Else the sign-flip
    permutation test (Fisher 1935, "The Design of Experiments", section 21), of all flips where they
    are few and of 9,999 drawn ones otherwise; it takes differences to be symmetric about their mean.
    Drawn flips cannot tell chances below 1 in 10,000, which many tests at a high confidence ask for: where
    none of them was as bad as what was seen, the bound of Chernoff 1952, Annals of Mathematical Statistics
    23:493-507, on the share of all flips counts where it is lower. Of losses alone it is that share itself.

    Args:
        differences: First score less second, from -1 to 1, one an example.
        groups: Each example's group; an empty name: it stands alone. None: all stand alone.
        seed: Of the drawn flips.

    Raises:
        ValueError: As of `units`.
    """
    import numpy as np
    from scipy.stats import binomtest, permutation_test

    sums = np.array(sorted(total for total, _ in group_sums(differences, groups) if total))
    if not len(sums):
        return 1.0
    if len(set(np.abs(sums))) == 1:
        return float(binomtest(int((sums > 0).sum()), len(sums), alternative="less").pvalue)
    found = permutation_test(
        (sums,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        alternative="less",
        rng=np.random.default_rng(seed),
        batch=1000,
    )
    p = float(found.pvalue)
    return min(p, _most_flips(sums)) if p < 1.5 / (_PERMUTATIONS + 1) else p


def _most_flips(sums: npt.NDArray[np.float64]) -> float:
    """Return a bound on the share of all sign flips whose sum is as low as this one, which is below 0."""
    import numpy as np

    sizes = np.abs(sums)
    # Any tilt gives a bound; the lowest of many is near the best.
    tilts = np.geomspace(1e-3, 1e3, 241) / sizes.mean()
    steps = tilts[:, None] * sizes
    logs = (np.logaddexp(steps, -steps) - np.log(2)).sum(axis=1) + tilts * sums.sum()
    return float(np.exp(min(logs.min(), 0.0)))
