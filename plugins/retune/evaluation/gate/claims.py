"""What the spec claims of the candidate, each proven or not.

A promotion needs every claim, so each is tested at the gate's confidence with no correction between them:
Berger 1982, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24:295-300, theorem 1
(the intersection-union test): the chance to promote while any claim is false is at most that of its own test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from retune.evaluation.gate.evidence import CANDIDATE, Evidence, Pairs
from retune.evaluation.gate.sentences import counted, points, signed, span
from retune.records import Check, EvalReport, Verdict
from retune.spec import PipelineSpec

if TYPE_CHECKING:
    from retune.stats.sequential import Sequential

RELEASES = ("champion", "previous")
"""Contenders that exist only once something was released."""


@dataclass(frozen=True)
class Claim:
    """That the candidate's score less a rival's is above a threshold."""

    rule: Literal["beats", "not_worse_than"]
    rival: str
    threshold: float
    """Least gain, or minus the margin."""

    @property
    def name(self) -> str:
        """What its check is called."""
        return f"{self.rule} {self.rival}"

    @property
    def aim(self) -> str:
        """The claim in words."""
        if self.rule == "beats":
            return f"gain more than {points(self.threshold)} points" if self.threshold else "be better"
        return f"lose less than {points(-self.threshold)} points"


def claims_of(spec: PipelineSpec, live: Mapping[str, str], reports: Mapping[str, EvalReport]) -> list[Claim]:
    """Return the spec's claims that apply: of a release only where there is one.

    Args:
        spec: The frozen spec.
        live: `champion` and `previous` -> digest, where there is such a release.
        reports: A release that was evaluated is there too.
    """
    found = [Claim("beats", rival, gain) for rival, gain in spec.gate.beats if gain is not None]
    found += [
        Claim("not_worse_than", rival, -margin)
        for rival, margin in spec.gate.not_worse_than
        if margin is not None
    ]
    return [
        claim
        for claim in found
        if claim.rival not in RELEASES or claim.rival in live or claim.rival in reports
    ]


def check_claims(evidence: Evidence, claims: Sequence[Claim]) -> list[Check]:
    """Test every claim on the held-out examples."""
    return [
        _unknown(claim)
        if evidence.trouble(CANDIDATE) or evidence.trouble(claim.rival)
        else _tested(claim, evidence.pairs(CANDIDATE, claim.rival, proof=True), evidence)
        for claim in claims
    ]


def settled(found: Sequential, confidence: float) -> Verdict:
    """Return whether a mean difference is shown to be above the threshold, shown to be below, or neither."""
    proof = 1 / (1 - confidence)
    if found.e_above >= proof:
        return Verdict.PROMOTE
    return Verdict.REJECT if found.e_below >= proof else Verdict.INCONCLUSIVE


def _unknown(claim: Claim) -> Check:
    return Check(
        name=claim.name,
        verdict=Verdict.INCONCLUSIVE,
        value=None,
        threshold=claim.threshold,
        n=0,
        sentence=f"Candidate and {claim.rival} cannot be compared.",
    )


def _tested(claim: Claim, pairs: Pairs, evidence: Evidence) -> Check:
    from retune.stats.sequential import paired_sequential

    spec, confidence, n = evidence.spec, evidence.spec.gate.confidence, len(pairs.ids)
    found = paired_sequential(pairs.differences, claim.threshold, confidence, pairs.groups)
    verdict = settled(found, confidence)
    finding, needed = {
        Verdict.PROMOTE: (f"shown to {claim.aim}.", None),
        Verdict.REJECT: (f"shown not to {claim.aim}.", None),
    }.get(verdict) or _power(claim, pairs, confidence)
    return Check(
        name=claim.name,
        verdict=verdict,
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=claim.threshold,
        n=n,
        sentence=f"Candidate against {claim.rival}: {signed(found.value)} points of {_metric(evidence)} "
        f"{span(found.low, found.high)} on {counted(n, 'example')}; {finding}",
        method=f"paired betting e-process, one-sided bounds of {confidence:.4g} each, at any stopping time"
        " (Waudby-Smith and Ramdas 2024)" + ("; by group" if pairs.groups else ""),
        beside=_classical(pairs, confidence, spec.seed),
        needed=needed,
    )


def _metric(evidence: Evidence) -> str:
    """Name the gate's metric, and say so where a gain is a smaller figure."""
    name = evidence.spec.gate.metric
    less = not evidence.reports[CANDIDATE].metrics[name].higher_is_better
    return f"{name}, of which less is better," if less else name


def _power(claim: Claim, pairs: Pairs, confidence: float) -> tuple[str, int | None]:
    """Say what so many examples could have seen, and how many more would likely settle it."""
    from retune.stats.power import detectable, needed

    n = len(pairs.ids)
    more = needed(pairs.differences, claim.threshold, confidence, pairs.groups)
    least = detectable(pairs.differences, n, confidence, pairs.groups)
    seen = f"n = {n:,} can see {points(least)} points" if least < 1 else f"n = {n:,} can see nothing"
    side = "" if pairs.mean > claim.threshold else ", against the candidate"
    settle = (
        f"{more:,} more examples would likely settle it{side}"
        if more
        else "no number of examples would likely settle it, as the difference is close to what is asked"
    )
    return f"whether it would {claim.aim} is not settled. {seen}; {settle}.", more or None


def _classical(pairs: Pairs, confidence: float, seed: int) -> dict[str, float]:
    """Return the figures of fixed-size tests, which hold for one look only; they decide nothing."""
    from retune.stats.intervals import paired_difference
    from retune.stats.paired import mcnemar_exact, paired_bootstrap

    low, high = paired_bootstrap(pairs.differences, confidence, seed, pairs.groups)
    found = {"bootstrap_low": low, "bootstrap_high": high}
    # McNemar's test is of independent right and wrong answers.
    if pairs.groups is None and set(pairs.differences) <= {-1.0, 0.0, 1.0}:
        won, lost = pairs.differences.count(1.0), pairs.differences.count(-1.0)
        same = len(pairs.differences) - won - lost
        _, least, most = paired_difference(same, won, lost, 0, confidence)
        found |= {"mcnemar_p": mcnemar_exact(won, lost), "difference_low": least, "difference_high": most}
    return found
