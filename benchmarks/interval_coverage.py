"""Do the intervals that Retune shows cover the truth as often as they say?

    PYTHONPATH=plugins python -m benchmarks.interval_coverage

By exact enumeration of all tables (b, c, ...) that can come up, not by drawing some: n = 100 to 1,000,
accuracy 0.5 to 0.99, 5% to 40% discordant pairs, of which the candidate wins half to nearly all. The
bootstrap is enumerated as if it were drawn endlessly often, and the function itself is run on the worst
of these cases; groups are simulated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import beta, binom, multinomial, norm

from benchmarks.figures import Line, tell
from retune.stats.intervals import paired_difference, proportion, wilson
from retune.stats.paired import paired_bootstrap
from retune.stats.sequential import bets, growth, paired_sequential
from retune.stats.units import Units

RESULTS = Path(__file__).parent / "results" / "interval_coverage.json"
CONFIDENCE, SLACK = 0.95, 0.01
SIZES = (100, 200, 500, 1000)
ACCURACIES = tuple(round(0.5 + step / 200, 3) for step in range(99))
"""0.5 to 0.99 by half points."""
MARGINALS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
DISCORDANT = (0.05, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4)
WON = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
"""Gain as a share of the discordant pairs."""
TAIL = 1e-9
ALL_UP_TO = 200
EDGE = 1e-9
Z = float(norm.ppf((1 + CONFIDENCE) / 2))
Floats = npt.NDArray[np.float64]
Pair = tuple[Floats, Floats]


class Found:
    """Coverage of one interval on its grid."""

    def __init__(self, nominal: float = CONFIDENCE) -> None:
        self.nominal = nominal
        self.cases: list[dict[str, float]] = []

    def add(self, coverage: float, **case: float) -> None:
        self.cases.append({"coverage": round(float(coverage), 4), **case})

    @property
    def worst(self) -> dict[str, float]:
        return min(self.cases, key=lambda case: case["coverage"])

    def told(self) -> dict[str, Any]:
        covered = [case["coverage"] for case in self.cases]
        by_n = {}
        for n in sorted({case["n"] for case in self.cases}):
            of_n = [case["coverage"] for case in self.cases if case["n"] == n]
            by_n[str(n)] = {"least": min(of_n), "mean": round(float(np.mean(of_n)), 4), "most": max(of_n)}
        return {
            "nominal": self.nominal,
            "cases": len(covered),
            "worst": self.worst,
            "mean": round(float(np.mean(covered)), 4),
            "over_coverage_mean_points": round(100 * (float(np.mean(covered)) - self.nominal), 2),
            "over_coverage_most_points": round(100 * (max(covered) - self.nominal), 2),
            "below_nominal_less_1_point": sum(one < self.nominal - SLACK for one in covered),
            "by_n": by_n,
        }


def accuracy() -> dict[str, Found]:
    """The intervals of a share of right answers."""
    found = {"exact (Clopper-Pearson), shown": Found(), "Wilson, for comparison": Found()}
    for n in SIZES:
        rights = np.arange(n + 1)
        for (name, seen), function in zip(found.items(), (proportion, wilson), strict=True):
            low, high = np.array([function(int(right), n, CONFIDENCE) for right in rights]).T
            for p in ACCURACIES:
                covered = (low <= p + EDGE) & (p <= high + EDGE)
                seen.add(binom.pmf(rights, n, p) @ covered, n=n, accuracy=p)
            print(name, n, seen.worst, flush=True)
    return found


def score_interval(rights: Floats, n: int) -> Pair:
    """`wilson`, for arrays."""
    share = rights / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return middle - reach, middle + reach


def combined(first: Floats, second: Floats, n: int) -> Pair:
    """`paired_difference`, for arrays."""
    (low1, high1), (low2, high2) = score_interval(first, n), score_interval(second, n)
    wins, losses = first / n, second / n
    correlation = -np.sqrt(first * second / np.maximum((n - first) * (n - second), 1))

    def reach(one: Floats, other: Floats) -> Floats:
        return np.sqrt(one**2 - 2 * correlation * one * other + other**2)

    return (
        wins - losses - reach(wins - low1, high2 - losses),
        wins - losses + reach(high1 - wins, losses - low2),
    )


def newcombe(both: Floats, first: Floats, second: Floats, n: int) -> Pair:
    """Newcombe 1998, method 10, which Retune showed before."""
    neither = n - both - first - second
    rights1, rights2 = both + first, both + second
    (low1, high1), (low2, high2) = score_interval(rights1, n), score_interval(rights2, n)
    margins = rights1 * (n - rights1) * rights2 * (n - rights2)
    product = both * neither - first * second
    product = np.where(product > 0, np.maximum(product - n / 2, 0), product)
    phi = np.where(margins > 0, product / np.sqrt(np.maximum(margins, 1)), 0)
    p1, p2 = rights1 / n, rights2 / n

    def reach(one: Floats, other: Floats) -> Floats:
        return np.sqrt(np.maximum(one**2 - 2 * phi * one * other + other**2, 0))

    return p1 - p2 - reach(p1 - low1, high2 - p2), p1 - p2 + reach(high1 - p1, p2 - low2)


def endless_bootstrap(first: Floats, second: Floats, n: int, added: int) -> Pair:
    """The percentile interval of endless resamples, with `added` wins and as many losses."""
    length = 1 << int(np.ceil(np.log2(2 * n + 2)))
    turn = np.exp(-2j * np.pi * np.arange(length) / length)
    wins, losses = ((count + added) / (n + 2 * added) for count in (first, second))
    ends = []
    for at in range(0, len(first), 500):
        win, loss = wins[at : at + 500, None], losses[at : at + 500, None]
        shares = np.fft.ifft((win * turn + loss / turn + 1 - win - loss) ** n, axis=1).real
        summed = np.roll(shares, n, axis=1).cumsum(axis=1)
        ends.append(
            [(summed >= side).argmax(axis=1) - n for side in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)]
        )
    low, high = np.concatenate(ends, axis=1) / n
    return low, high


def sequential_covers(first: Floats, second: Floats, n: int, gain: float) -> npt.NDArray[np.bool_]:
    """Whether neither side of the confidence sequence refutes the gain, after n examples."""
    _, weights = bets(1)
    covers = np.ones(len(first), dtype=bool)
    for sign in (1, -1):
        kinds = Units(np.array([-1.0, 0, 1]), np.ones(3), np.ones(3))
        counts = np.stack([second, n - first - second, first][::sign])
        logs = logsumexp(growth(kinds, sign * gain) @ counts, b=weights[:, None], axis=0)
        covers &= logs < -np.log(1 - CONFIDENCE)
    return covers


def tables(n: int, win: float, loss: float) -> tuple[Floats, Floats, Floats]:
    """All counts of wins and losses that matter, with their chances."""
    spans = [np.arange(binom.ppf(TAIL, n, p), binom.isf(TAIL, n, p) + 1) for p in (win, loss)]
    first, second = (column.ravel() for column in np.meshgrid(*spans, indexing="ij"))
    keep = first + second <= n
    first, second = first[keep], second[keep]
    cells = np.column_stack([first, second, n - first - second])
    chances = multinomial.pmf(cells, n, [win, loss, 1 - win - loss])
    keep = chances > TAIL
    return first[keep], second[keep], chances[keep]


def designs() -> Iterator[tuple[float, float, float, float]]:
    """Discordant share, gain, chance of a win and of a loss."""
    for discordant in DISCORDANT:
        for won in WON:
            gain = discordant * won
            yield discordant, gain, (discordant + gain) / 2, (discordant - gain) / 2


def within(ends: Pair, gain: float) -> npt.NDArray[np.bool_]:
    return (ends[0] <= gain + EDGE) & (gain <= ends[1] + EDGE)


def paired() -> dict[str, Found]:
    """The intervals of a paired difference."""
    difference, bootstrap, sequence = Found(), Found(), Found(2 * CONFIDENCE - 1)
    newcombe10, percentile = Found(), Found()
    check_agreement()
    for n in SIZES:
        for number, (discordant, gain, win, loss) in enumerate(designs()):
            first, second, chances = tables(n, win, loss)
            case = {"n": n, "discordant": discordant, "gain": round(gain, 4)}

            def covered(by: npt.NDArray[np.bool_], chances: Floats = chances) -> float:
                return float(chances @ by / chances.sum())

            difference.add(covered(within(combined(first, second, n), gain)), **case)
            sequence.add(covered(sequential_covers(first, second, n, gain)), **case)
            # Slow where tables are many: there on every fifth case.
            if n <= ALL_UP_TO or number % 5 == 0:
                bootstrap.add(covered(within(endless_bootstrap(first, second, n, 1), gain)), **case)
            if n == min(SIZES):
                percentile.add(covered(within(endless_bootstrap(first, second, n, 0), gain)), **case)
                for p in MARGINALS:
                    if p >= win and p + loss <= 1 + EDGE:
                        share = min((p - win) / (1 - discordant), 1.0)
                        coverage = newcombe_coverage(first, second, chances, n, share, gain)
                        newcombe10.add(coverage, **case, accuracy=p)
        print(n, difference.worst, bootstrap.worst, sequence.worst, flush=True)
    return {
        "paired difference, shown": difference,
        "paired bootstrap, shown": bootstrap,
        # Each side at 95%: both at once at 90%.
        "confidence sequence at fixed n, shown": sequence,
        "Newcombe's method 10, for comparison": newcombe10,
        "plain percentile bootstrap, for comparison": percentile,
    }


def newcombe_coverage(
    first: Floats, second: Floats, chances: Floats, n: int, share: float, gain: float
) -> float:
    """Over the tables and, of the pairs that agree, over how many are both right."""
    agreeing = n - first - second
    covered = total = 0.0
    least, most = binom.ppf(TAIL, agreeing.min(), share), binom.isf(TAIL, agreeing.max(), share)
    for both in np.arange(least, most + 1):
        here = (agreeing >= both) & (np.abs(both - share * agreeing) <= 7 * np.sqrt(agreeing) / 2 + 1)
        if here.any():
            weight = chances[here] * binom.pmf(both, agreeing[here], share)
            covered += weight @ within(newcombe(both, first[here], second[here], n), gain)
            total += weight.sum()
    return covered / total


def check_agreement() -> None:
    """What is enumerated here is what the package computes."""
    rng = np.random.default_rng(1)
    for both, first, second, neither in rng.multinomial(150, [0.6, 0.15, 0.05, 0.2], size=20):
        arrays = [np.array([float(count)]) for count in (both, first, second)]
        low, high = combined(*arrays[1:3], 150)
        said = paired_difference(both, first, second, neither, CONFIDENCE)
        assert np.allclose(said[1:], (low[0], high[0])), (said, low, high)
        differences = [1] * first + [-1] * second + [0] * (both + neither)
        sequence = paired_sequential(differences, 0.1, CONFIDENCE)
        covers = sequential_covers(*arrays[1:3], 150, 0.1)[0]
        assert covers == (max(sequence.e_above, sequence.e_below) < 1 / (1 - CONFIDENCE)), sequence
        drawn = paired_bootstrap(differences, CONFIDENCE, 1)
        endless = [end[0] for end in endless_bootstrap(*arrays[1:3], 150, 1)]
        assert np.abs(np.array(drawn) - endless).max() <= 1.5 / 150, (drawn, endless)


def run_bootstrap(case: dict[str, float], samples: int) -> dict[str, float]:
    """The function itself on the case that the enumeration found worst."""
    n, discordant, gain = int(case["n"]), case["discordant"], case["gain"]
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    covered = 0
    for seed, counts in enumerate(np.random.default_rng(2).multinomial(n, shares, size=samples)):
        differences = np.repeat([1.0, -1.0, 0.0], counts).tolist()
        low, high = paired_bootstrap(differences, CONFIDENCE, seed)
        covered += low <= gain + EDGE and gain <= high + EDGE
    return {**case, "coverage": covered / samples, "upper_99": upper(covered, samples), "samples": samples}


def run_groups(samples: int) -> list[dict[str, float]]:
    """Groups of 3 to 5 whose examples are half the time alike, by simulation."""
    rng, told = np.random.default_rng(3), []
    for groups in (25, 50, 125):
        covered = sequence = 0
        for seed in range(samples):
            sizes = rng.integers(3, 6, groups)
            shared = rng.choice([1, -1, 0], groups, p=[0.125, 0.075, 0.8])
            of = np.repeat(np.arange(groups), sizes)
            own = rng.choice([1, -1, 0], len(of), p=[0.125, 0.075, 0.8])
            differences = np.where(rng.random(len(of)) < 0.5, shared[of], own).tolist()
            names = [str(group) for group in of]
            low, high = paired_bootstrap(differences, CONFIDENCE, seed, names)
            covered += low <= 0.05 <= high
            said = paired_sequential(differences, 0.05, CONFIDENCE, names)
            sequence += said.low <= 0.05 <= said.high
        told.append(
            {
                "groups": groups,
                "n": 4 * groups,
                "bootstrap": covered / samples,
                "bootstrap_upper_99": upper(covered, samples),
                "confidence_sequence": sequence / samples,
            }
        )
        print("groups", told[-1], flush=True)
    return told


def upper(events: int, n: int) -> float:
    """The one-sided 99% Clopper-Pearson bound of a share."""
    return 1.0 if events == n else round(float(beta.ppf(0.99, events + 1, n - events)), 4)


def lines(results: dict[str, Any]) -> Iterator[Line]:
    for name, told in results["intervals"].items():
        nominal = told["nominal"]
        if "shown" in name:
            yield (
                "must",
                f"least coverage of {told['cases']} cases: {name} (mean {told['mean']}, over-coverage up to"
                f" {told['over_coverage_most_points']} points)",
                told["worst"]["coverage"],
                lambda least, nominal=nominal: least >= nominal - SLACK,
                f"at least {nominal - SLACK:.2f}",
            )
    wished = f"not below {CONFIDENCE - SLACK:.2f}, at 99%"
    drawn: Iterable[tuple[str, float]] = [
        ("paired bootstrap as drawn, its worst case", results["bootstrap_as_drawn"]["upper_99"]),
        *(
            (f"paired bootstrap of {case['groups']} groups", case["bootstrap_upper_99"])
            for case in results["groups"]
        ),
    ]
    for name, bound in drawn:
        yield (
            "must",
            f"coverage, upper bound: {name}",
            bound,
            lambda bound: bound >= CONFIDENCE - SLACK,
            wished,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000, help="where coverage is simulated")
    arguments = parser.parse_args()
    begun = time.monotonic()
    found = accuracy() | paired()
    results: dict[str, Any] = {
        "grid": {
            "n": SIZES,
            "accuracy": [min(ACCURACIES), max(ACCURACIES), len(ACCURACIES)],
            "accuracy_of_pairs": MARGINALS,
            "discordant": DISCORDANT,
            "gain_as_share_of_discordant": WON,
        },
        "intervals": {name: seen.told() for name, seen in found.items()},
        "bootstrap_as_drawn": run_bootstrap(found["paired bootstrap, shown"].worst, arguments.samples),
        "groups": run_groups(arguments.samples),
    }
    results["seconds"] = round(time.monotonic() - begun)
    tell(results, lines(results), RESULTS)


if __name__ == "__main__":
    main()
