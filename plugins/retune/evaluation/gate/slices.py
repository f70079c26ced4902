"""The guard over parts of the held-out set: none may break while the mean rises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2

from retune.evaluation.gate.evidence import CANDIDATE, Evidence, Pairs
from retune.evaluation.gate.sentences import counted, points, signed
from retune.records import Check, Verdict
from retune.spec.gate import Slices

LABEL = "label"
"""The column of `gate.slices.by` that stands for the expected label."""


@dataclass(frozen=True)
class Slice:
    """One value of a slice column, with how the candidate did there."""

    column: str
    value: str
    pairs: Pairs
    p: float | None = None
    """Adjusted p-value of harm; None where it is too small to be judged."""

    def broken(self, rules: Slices, confidence: float) -> bool:
        """Whether harm is shown and goes beyond what is allowed."""
        return self.p is not None and self.p <= 1 - confidence and -self.pairs.mean > rules.max_drop


def rival_of(evidence: Evidence) -> str:
    """Return against whom slices are held: what serves, or the base model where nothing does."""
    return "champion" if "champion" in evidence.live else "base"


def check_slices(evidence: Evidence) -> list[Check]:
    """Return one check a slice column.

    Each slice of every column is tested for harm, and the p-values are adjusted over all of them (Holm 1979,
    "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6:65-70):
    however many slices there are, the chance of a veto without harm stays within 1 - confidence.
    """
    rules = evidence.spec.gate.slices
    if rules is None:
        return []
    rival = rival_of(evidence)
    if evidence.trouble(CANDIDATE) or evidence.trouble(rival):
        return [_unknown(column, f"Candidate and {rival} cannot be compared.") for column in rules.by]
    pairs = evidence.pairs(CANDIDATE, rival)
    parts = {column: _parts(evidence, column, pairs) for column in rules.by}
    judged = _judged([part for column in parts.values() for part in column or ()], evidence)
    return [
        _unknown(column, f"Not every held-out example has a value of {column}; prepare the data again.")
        if found is None
        else _column([part for part in judged if part.column == column], rival, judged, evidence)
        for column, found in parts.items()
    ]


def _parts(evidence: Evidence, column: str, pairs: Pairs) -> list[Slice] | None:
    """Return a column's slices by value; None where an example lacks the column."""
    members: dict[str, set[str]] = {}
    for outcome in evidence.outcomes[CANDIDATE]:
        value = outcome.expected if column == LABEL else outcome.slices.get(column)
        if value is None:
            return None
        members.setdefault(value, set()).add(outcome.id)
    return [Slice(column, value, pairs.only(members[value])) for value in sorted(members)]


def _judged(parts: Sequence[Slice], evidence: Evidence) -> list[Slice]:
    """Return the slices, those that are large enough with their adjusted p-value."""
    from retune.stats.multiple import holm
    from retune.stats.paired import harm

    assert evidence.spec.gate.slices is not None
    least = evidence.spec.gate.slices.min_examples
    large = [part for part in parts if len(part.pairs.ids) >= least]
    found = [harm(part.pairs.differences, part.pairs.groups, evidence.spec.seed) for part in large]
    adjusted: Mapping[tuple[str, str], float] = {
        (part.column, part.value): p for part, p in zip(large, holm(found) if found else [], strict=True)
    }
    return [
        Slice(part.column, part.value, part.pairs, adjusted.get((part.column, part.value))) for part in parts
    ]


def _unknown(column: str, sentence: str) -> Check:
    return Check(
        name=f"slices by {column}",
        kind="guard",
        verdict=Verdict.INCONCLUSIVE,
        value=None,
        n=0,
        sentence=sentence,
    )


def _column(found: Sequence[Slice], rival: str, family: Sequence[Slice], evidence: Evidence) -> Check:
    rules, confidence = evidence.spec.gate.slices, evidence.spec.gate.confidence
    assert rules is not None
    large = [part for part in found if part.p is not None]
    broken = [part for part in large if part.broken(rules, confidence)]
    worst = min(broken or large, key=lambda part: (part.pairs.mean, part.value), default=None)
    tests = sum(part.p is not None for part in family)
    sentence = (
        _veto(broken, rival, rules)
        if broken
        else _no_veto(large, worst, rival, rules) + _blind(large, tests, confidence)
    )
    small = len(found) - len(large)
    if small:
        sentence += f" {counted(small, 'slice')} of fewer than {rules.min_examples} examples: not judged."
    return Check(
        name=f"slices by {found[0].column}",
        kind="guard",
        verdict=Verdict.REJECT if broken else Verdict.PROMOTE,
        value=worst.pairs.mean if worst else None,
        threshold=-rules.max_drop,
        n=len(worst.pairs.ids) if worst else 0,
        sentence=sentence,
        method=f"one-sided sign test of harm in each slice, Holm over {counted(tests, 'slice')}",
        beside={"adjusted_p": worst.p} if worst and worst.p is not None else {},
    )


def _told(part: Slice, rival: str) -> str:
    return (
        f"{part.column} = {part.value}: {signed(part.pairs.mean)} points against {rival} on"
        f" {counted(len(part.pairs.ids), 'example')} (adjusted p = {part.p:.2g})"
    )


def _veto(broken: Sequence[Slice], rival: str, rules: Slices) -> str:
    ordered = sorted(broken, key=lambda part: (part.pairs.mean, part.value))
    told = f"{_told(ordered[0], rival)}, shown to lose, and more than the {points(rules.max_drop)} allowed."
    if len(ordered) > 1:
        others = ", ".join(part.value for part in ordered[1:4])
        rest = len(ordered) - 4
        told += f" Also: {others}" + (f" and {rest} more." if rest > 0 else ".")
    return told


def _no_veto(large: Sequence[Slice], worst: Slice | None, rival: str, rules: Slices) -> str:
    if worst is None:
        return f"No slice has the {rules.min_examples} examples that it takes to be judged."
    return (
        f"No slice of {len(large)} is shown to lose more than {points(rules.max_drop)} points."
        f" The worst is {_told(worst, rival)}."
    )


def _blind(large: Sequence[Slice], tests: int, confidence: float) -> str:
    """Say what harm the guard could have seen: a p-value of k losses and no win is 2 to the power of -k."""
    if not large:
        return ""
    least = ceil(log2(tests / (1 - confidence)) - 1e-9)
    unit = large[0].pairs.unit
    smaller = sum(part.pairs.units < least for part in large)
    told = f" Losing {counted(least, unit)} and winning none would show it"
    return told + (f"; too small for that: {counted(smaller, 'slice')}." if smaller else ".")
