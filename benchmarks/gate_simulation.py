"""Does the gate promote equal models, however often it is looked at, and what does a decision cost?

    PYTHONPATH=plugins python -m benchmarks.gate_simulation [--gates N]

Simulated gates: a candidate against base on up to 1,000 held-out examples, 20% discordant pairs, looked
at after every example (or every group). A gate promotes when it shows that the gain lies above its
threshold, and rejects when it shows that it lies below, each at 95%. Beside it stands the exact McNemar
test at a size that is fixed beforehand, one-sided at 5%, as large as equal power asks for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom

from benchmarks.figures import Line, tell
from retune.stats.sequential import bets, growth, paired_sequential
from retune.stats.units import Units

RESULTS = Path(__file__).parent / "results" / "gate_simulation.json"
CONFIDENCE, CAP, VALIDATION = 0.95, 1000, 200
DISCORDANT, ACCURACY = 0.2, 0.7
LEVEL = 1 - CONFIDENCE
BLOCK = 500
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Gates:
    """Many gates: each unit's sum of differences and size, in the order of asking."""

    sums: Ints
    sizes: Ints


@dataclass(frozen=True)
class Ends:
    """How gates ended that were looked at after every unit."""

    promoted: npt.NDArray[np.bool_]
    rejected: npt.NDArray[np.bool_]
    examples: Ints
    """Asked until the decision; all of them where there was none."""
    at_cap: npt.NDArray[np.bool_]
    """Promoted by one look at the end."""


def independent(gates: int, gain: float, rng: np.random.Generator, discordant: float = DISCORDANT) -> Gates:
    drawn = rng.random((gates, CAP))
    wins = (drawn < (discordant + gain) / 2).astype(int)
    losses = ((drawn >= (discordant + gain) / 2) & (drawn < discordant)).astype(int)
    return Gates(wins - losses, np.ones((gates, CAP), dtype=int))


def grouped(gates: int, gain: float, rng: np.random.Generator, alike: float = 0.5) -> Gates:
    """Groups of 3 to 5 examples, each of which is, at a chance of `alike`, its group's own draw."""
    groups = CAP // 4
    sizes = rng.integers(3, 6, (gates, groups))
    first, *others = (independent(gates, gain, rng).sums[:, :groups] for _ in range(6))
    sums = np.zeros_like(sizes)
    for place, other in enumerate(others):
        same = rng.random((gates, groups)) < alike
        sums += np.where(place < sizes, np.where(same, first, other), 0)
    return Gates(sums, sizes)


def selected(gates: int, recipes: int, rng: np.random.Generator) -> tuple[Gates, Gates]:
    """Equal recipes, the best on validation: its validation set and its held-out set, against base."""
    # Of what base has right a recipe loses as much as it wins of the rest.
    lost, won = DISCORDANT / 2 / ACCURACY, DISCORDANT / 2 / (1 - ACCURACY)

    def answers(n: int, count: int) -> tuple[npt.NDArray[np.bool_], Ints]:
        base = rng.random((gates, 1, n)) < ACCURACY
        drawn = rng.random((gates, count, n))
        return base, np.where(base, -(drawn < lost).astype(int), (drawn < won).astype(int))

    _, validation = answers(VALIDATION, recipes)
    best = validation.sum(axis=2).argmax(axis=1)
    chosen = validation[np.arange(gates), best]
    _, held_out = answers(CAP, 1)
    return (
        Gates(chosen, np.ones_like(chosen)),
        Gates(held_out[:, 0], np.ones((gates, CAP), dtype=int)),
    )


def judged(gates: Gates, threshold: float) -> Ends:
    """Look at each gate after every unit, with the very bets of `paired_sequential`."""
    parts = [
        _judged(Gates(gates.sums[at : at + BLOCK], gates.sizes[at : at + BLOCK]), threshold)
        for at in range(0, len(gates.sums), BLOCK)
    ]
    return Ends(*(np.concatenate([getattr(part, name) for part in parts]) for name in Ends.__annotations__))


def _judged(gates: Gates, threshold: float) -> Ends:
    above, below = (wealth(gates, threshold, sign) >= 1 / LEVEL for sign in (1, -1))
    never = gates.sums.shape[1]
    first_above = np.where(above.any(axis=1), above.argmax(axis=1), never)
    first_below = np.where(below.any(axis=1), below.argmax(axis=1), never)
    last = np.minimum(np.minimum(first_above, first_below), never - 1)
    asked = gates.sizes.cumsum(axis=1)[np.arange(len(last)), last]
    return Ends(first_above < first_below, first_below < first_above, asked, above[:, -1])


def wealth(gates: Gates, threshold: float, sign: int) -> npt.NDArray[np.float64]:
    """The e-value after every unit: against "at most" with sign 1, against "at least" with -1."""
    most = int(gates.sizes.max())
    span = 2 * most + 1
    codes = sign * gates.sums + most + span * gates.sizes
    sizes, sums = np.divmod(np.arange(span * (most + 1)), span)
    real = (sizes > 0) & (np.abs(sums - most) <= sizes)
    logs = np.zeros((len(bets(most)[0]), len(real)))
    kinds = Units((sums - most)[real].astype(float), sizes[real].astype(float), np.ones(real.sum()))
    logs[:, real] = growth(kinds, sign * threshold)
    total = np.zeros(codes.shape)
    for log, weight in zip(logs, bets(most)[1], strict=True):
        total += weight * np.exp(log[codes].cumsum(axis=1))
    return total


def check_agreement(gates: Gates, threshold: float) -> None:
    """What is simulated here is what the package decides by."""
    found = {sign: wealth(Gates(gates.sums[:1], gates.sizes[:1]), threshold, sign)[0] for sign in (1, -1)}
    largest = int(gates.sizes[:1].max())
    for looked in (len(found[1]) // 3, len(found[1])):
        differences, groups = [], []
        sizes, sums = gates.sizes[0, :looked], gates.sums[0, :looked]
        if sizes.max() != largest:
            continue
        for number, (total, size) in enumerate(zip(sums, sizes, strict=True)):
            differences += [total / size] * size
            groups += [str(number)] * size
        said = paired_sequential(differences, threshold, CONFIDENCE, groups)
        assert np.isclose(said.e_above, found[1][looked - 1]), (said, found[1][looked - 1])
        assert np.isclose(said.e_below, found[-1][looked - 1]), (said, found[-1][looked - 1])


def upper(events: int, n: int, confidence: float = 0.99) -> float:
    """The one-sided Clopper-Pearson bound."""
    return 1.0 if events == n else float(beta.ppf(confidence, events + 1, n - events))


def mcnemar_power(n: int, gain: float) -> float:
    """Of the exact one-sided McNemar test at 5%, by enumeration."""
    pairs = np.arange(n + 1)
    # The fewest wins of so many differing pairs that are significant.
    least = binom.isf(LEVEL, pairs, 0.5) + 1
    power = binom.sf(least - 1, pairs, (DISCORDANT + gain) / 2 / DISCORDANT)
    return float(binom.pmf(pairs, n, DISCORDANT) @ power)


def fixed_size(power: float, gain: float, most: int = 20_000) -> int:
    """The least examples at which the fixed-size test has the power, from there on but for its saw-teeth."""
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar_power(middle, gain) >= power else (middle, high)
    return high


def nulls(gates: int, rng: np.random.Generator) -> Iterator[tuple[str, Gates, float]]:
    yield "equal models, beats 0", independent(gates, 0.0, rng), 0.0
    yield "a gain of 0.05, beats 0.05", independent(gates, 0.05, rng), 0.05
    yield "a loss of 0.01, not_worse_than 0.01", independent(gates, -0.01, rng), -0.01
    yield "equal models, beats 0, 5% discordant", independent(gates, 0.0, rng, 0.05), 0.0
    yield "equal models, beats 0, 40% discordant", independent(gates, 0.0, rng, 0.4), 0.0
    yield "equal models, beats 0, groups of 3 to 5", grouped(gates, 0.0, rng), 0.0
    yield "a gain of 0.05, beats 0.05, groups of 3 to 5", grouped(gates, 0.05, rng), 0.05
    yield "a loss of 0.01, not_worse_than 0.01, groups of 3 to 5", grouped(gates, -0.01, rng), -0.01
    yield from (
        (f"the best of {count} equal recipes, beats 0", sets, 0.0) for count, sets in chosen(gates, rng)
    )


def chosen(gates: int, rng: np.random.Generator) -> Iterator[tuple[int, Gates]]:
    for recipes in (1, 5, 20):
        held_out = [selected(min(BLOCK, gates - at), recipes, rng)[1] for at in range(0, gates, BLOCK)]
        yield (
            recipes,
            Gates(
                np.concatenate([part.sums for part in held_out]),
                np.concatenate([part.sizes for part in held_out]),
            ),
        )


def false_promotions(gates: int, rng: np.random.Generator) -> dict[str, Any]:
    found = {}
    for name, simulated, threshold in nulls(gates, rng):
        check_agreement(simulated, threshold)
        ends = judged(simulated, threshold)
        promoted, rejected = int(ends.promoted.sum()), int(ends.rejected.sum())
        found[name] = {
            "promoted": promoted,
            "promoted_share": promoted / gates,
            "upper_99": round(upper(promoted, gates), 4),
            "rejected_share": rejected / gates,
            "rejected_upper_99": round(upper(rejected, gates), 4),
            "promoted_by_one_look_at_the_end": float(ends.at_cap.mean()),
        }
        print(name, found[name], flush=True)
    leaked = [judged(selected(BLOCK, 20, rng)[0], 0.0).promoted for _ in range(0, gates, BLOCK)]
    found["for contrast: the best of 20 judged on the set that chose it"] = {
        "promoted_share": float(np.concatenate(leaked).mean())
    }
    return found


def decisions(gates: int, rng: np.random.Generator) -> dict[str, Any]:
    found = {}
    for gain in (0.03, 0.05, 0.10):
        for kind, draw in (("", independent), (", groups of 3 to 5", grouped)):
            ends = judged(draw(gates, gain, rng), 0.0)
            power = float(ends.promoted.mean())
            found[f"+{100 * gain:.0f} points{kind}"] = {
                "power": power,
                "power_of_one_look_at_the_end": float(ends.at_cap.mean()),
                "rejected_share": float(ends.rejected.mean()),
                "examples_median": float(np.median(ends.examples)),
                "examples_p90": float(np.quantile(ends.examples, 0.9)),
                "examples_mean": round(float(ends.examples.mean()), 1),
                "examples_median_of_promoted": float(np.median(ends.examples[ends.promoted])),
                "cap": CAP,
            }
            if not kind:
                # A power of 1 in all gates would ask a fixed-size test for endless examples.
                equal = min(power, 1 - 1 / gates)
                found[f"+{100 * gain:.0f} points"] |= {
                    "fixed_size_mcnemar_of_equal_power": fixed_size(equal, gain),
                    "power_of_mcnemar_at_the_cap": round(mcnemar_power(CAP, gain), 4),
                }
            print(f"+{100 * gain:.0f}{kind}", found[f"+{100 * gain:.0f} points{kind}"], flush=True)
    return found


def lines(results: dict[str, Any]) -> Iterator[Line]:
    for name, found in results["false_promotions"].items():
        if "upper_99" in found:
            yield (
                "must",
                f"false promotions, 99% bound: {name}",
                found["upper_99"],
                lambda bound: bound <= LEVEL,
                f"at most {LEVEL:.2f}",
            )
    for name, found in results["decisions"].items():
        if fixed := found.get("fixed_size_mcnemar_of_equal_power"):
            yield (
                "goal",
                f"median examples to a decision at {name} (power {found['power']:.3f}, 90th percentile"
                f" {found['examples_p90']:.0f}, cap {CAP})",
                found["examples_median"],
                lambda median, fixed=fixed: median <= fixed,
                f"at most the {fixed} of a fixed-size McNemar test of equal power",
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, begun = np.random.default_rng(arguments.seed), time.monotonic()
    results: dict[str, Any] = {"gates": arguments.gates, "seed": arguments.seed, "discordant": DISCORDANT}
    results["false_promotions"] = false_promotions(arguments.gates, rng)
    results["decisions"] = decisions(arguments.gates, rng)
    results["seconds"] = round(time.monotonic() - begun)
    tell(results, lines(results), RESULTS)


if __name__ == "__main__":
    main()
