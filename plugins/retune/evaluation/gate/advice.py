"""What to do instead, where the evidence says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from retune.evaluation.gate.claims import settled
from retune.evaluation.gate.evidence import CANDIDATE, Evidence
from retune.evaluation.gate.preconditions import OF_THE_SET
from retune.evaluation.gate.sentences import points, signed
from retune.records import Check, Verdict

PROMPTS: Mapping[str, str] = {
    "few_shot": "the base model with examples in its prompt",
    "rag": "the base model with passages of your documents in its prompt",
}
"""Contenders that need no training -> what they are."""


def advise(evidence: Evidence, checks: Sequence[Check], verdict: Verdict) -> str:
    """Return one piece of advice, or nothing where the candidate is promoted or simply refused.

    A prompt is enough where it is shown to beat base and the candidate is not shown to beat it in turn: by
    what the spec claims, or by anything where it claims nothing. No endpoint changes by that.
    """
    if verdict is Verdict.PROMOTE:
        return ""
    return _prompt(evidence, checks) or (_more(evidence, checks) if verdict is Verdict.INCONCLUSIVE else "")


def _prompt(evidence: Evidence, checks: Sequence[Check]) -> str:
    """Name the best prompt that is enough."""
    doubted = {check.name for check in checks if check.verdict is not Verdict.PROMOTE}
    if doubted & OF_THE_SET or _unsound(evidence, "base"):
        return ""
    least = evidence.spec.gate.beats.base or 0.0
    gains = {
        name: evidence.pairs(name, "base", proof=True).mean
        for name in PROMPTS
        if not _unsound(evidence, name)
        and _shown(evidence, name, "base", least)
        and not _shown(evidence, CANDIDATE, name, _claimed(evidence, name))
    }
    if not gains:
        return ""
    name = max(gains, key=lambda one: gains[one])
    return (
        f"A better prompt is enough: ship {name}, {PROMPTS[name]}. It is shown to beat base"
        f" ({signed(gains[name])} points), and the candidate is not shown to beat it by more than"
        f" {points(_claimed(evidence, name))}."
    )


def _claimed(evidence: Evidence, name: str) -> float:
    """Return the least gain over a prompt that the spec claims; 0 where it claims none."""
    return getattr(evidence.spec.gate.beats, name) or 0.0


def _unsound(evidence: Evidence, name: str) -> bool:
    if evidence.trouble(CANDIDATE) or evidence.trouble(name):
        return True
    return evidence.failed(name) > evidence.spec.gate.max_failed * evidence.reports[name].n


def _shown(evidence: Evidence, first: str, second: str, threshold: float) -> bool:
    from retune.stats.sequential import paired_sequential

    pairs, confidence = evidence.pairs(first, second, proof=True), evidence.spec.gate.confidence
    found = paired_sequential(pairs.differences, threshold, confidence, pairs.groups)
    return settled(found, confidence) is Verdict.PROMOTE


def _more(evidence: Evidence, checks: Sequence[Check]) -> str:
    """Say how many examples more would do, where nothing else is in the way of a promotion."""
    unsettled = [check for check in checks if check.verdict is Verdict.INCONCLUSIVE]
    failed = any(check.verdict is Verdict.REJECT for check in checks)
    if failed or not all(check.needed and _hopeful(check) for check in unsettled):
        return ""
    more, share = max(check.needed or 0 for check in unsettled), evidence.spec.data.split.held_out
    return (
        f"Collect more data: {more:,} more held-out examples would likely settle it, which is about"
        f" {ceil(more / share):,} rows at {share:.0%} held out."
    )


def _hopeful(check: Check) -> bool:
    """Whether more examples could speak for the candidate: of a claim, where the measured gain is enough."""
    if check.kind != "claim":
        return True
    return check.value is not None and check.threshold is not None and check.value > check.threshold
