"""Puts the checks together into a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retune.evaluation.gate.advice import advise
from retune.evaluation.gate.claims import Claim, check_claims, claims_of
from retune.evaluation.gate.evidence import CANDIDATE, Evidence
from retune.evaluation.gate.kept import check_kept
from retune.evaluation.gate.limits import check_limits
from retune.evaluation.gate.preconditions import preconditions
from retune.evaluation.gate.slices import check_slices, rival_of
from retune.records import Check, Dataset, Decision, EvalReport, Outcome, Verdict
from retune.spec import PipelineSpec

_SAID = 3


def decide(
    spec: PipelineSpec,
    dataset: Dataset,
    reports: Mapping[str, EvalReport],
    outcomes: Mapping[str, Sequence[Outcome]],
    champion_digest: str | None,
    *,
    previous_digest: str | None = None,
    held_out_uses: int,
    leaked: int,
) -> Decision:
    """Decide on a candidate by the spec's gate.

    Where a precondition does not hold it is INCONCLUSIVE, whatever the figures say. Else one failed check is
    a REJECT; one that is not settled is INCONCLUSIVE; PROMOTE needs all of them. Prompts are never promoted,
    whatever they score: the decision's advice speaks of them.

    Args:
        spec: The frozen spec.
        dataset: The data whose held-out set was asked.
        reports: By `key_of`: `candidate`, `base`, `few_shot`, `rag`, `champion`, `previous`; where the spec
            has these guards, `forgetting:candidate`, `forgetting:base`, `safety:candidate`, `safety:base`.
        outcomes: The same keys: per-example outcomes.
        champion_digest: Digest of the model that serves now; None where none does.
        previous_digest: Digest of the model of the release before it; None where there is none.
        held_out_uses: Runs that have used the held-out set, this one counted.
        leaked: Held-out examples that stand on the training side: see `leaked_rows`.

    Raises:
        KeyError: There is no candidate's report.
    """
    known = {"champion": champion_digest, "previous": previous_digest}
    live = {name: digest for name, digest in known.items() if digest is not None}
    evidence = Evidence(spec, dataset, reports, outcomes, live)
    claims = claims_of(spec, live, reports)
    checks = preconditions(
        evidence, _involved(evidence, claims), len(claims), uses=held_out_uses, leaked=leaked
    )
    checks += check_claims(evidence, claims)
    checks += check_slices(evidence) + check_limits(evidence) + check_kept(evidence)
    verdict = _overall(checks)
    return Decision(
        spec_digest=spec.digest,
        verdict=verdict,
        reason=_reason(checks, verdict),
        checks=tuple(checks),
        candidate=reports[CANDIDATE].contender,
        reports=dict(reports),
        dataset_digest=dataset.digest,
        advice=advise(evidence, checks, verdict),
        held_out_uses=held_out_uses,
    )


def _involved(evidence: Evidence, claims: Sequence[Claim]) -> list[str]:
    """Return whose held-out figures decide; others are only looked at."""
    names = [CANDIDATE, *(claim.rival for claim in claims)]
    if evidence.spec.gate.slices is not None:
        names.append(rival_of(evidence))
    return list(dict.fromkeys(names))


def _overall(checks: Sequence[Check]) -> Verdict:
    verdicts = {check.verdict for check in checks}
    if any(check.kind == "precondition" and check.verdict is not Verdict.PROMOTE for check in checks):
        # Evidence that cannot be trusted speaks neither for the candidate nor against it.
        return Verdict.INCONCLUSIVE
    if Verdict.REJECT in verdicts:
        return Verdict.REJECT
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.PROMOTE


def _reason(checks: Sequence[Check], verdict: Verdict) -> str:
    """Say in one line what carries the verdict; a promotion rests on what was proven."""
    carrying = [check for check in checks if check.verdict is verdict]
    if verdict is Verdict.PROMOTE:
        carrying = [check for check in carrying if check.kind == "claim"]
    elif verdict is Verdict.INCONCLUSIVE:
        # Where the evidence itself is in doubt, that is the reason, and the rest follows from it.
        carrying = [check for check in carrying if check.kind == "precondition"] or carrying
    said = [check.sentence for check in carrying[:_SAID]]
    others = [check.name for check in carrying[_SAID:]]
    return " ".join([*said, *([f"Also: {', '.join(others)}."] if others else [])])
