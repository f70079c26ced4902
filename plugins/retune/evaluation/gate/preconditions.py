"""What must hold before any figure counts."""

from __future__ import annotations

from collections.abc import Sequence

from retune.evaluation.gate.evidence import CANDIDATE, Evidence
from retune.evaluation.gate.sentences import counted, passes
from retune.records import Check, EvalReport, Verdict

OF_THE_SET = frozenset({"enough examples", "no leaked rows", "a fresh held-out set"})
"""Checks of the set itself: where one does not hold, no figure on the set counts, whoever answered."""


def preconditions(
    evidence: Evidence, involved: Sequence[str], claims: int, *, uses: int, leaked: int
) -> list[Check]:
    """Return the checks of the evidence itself; one that does not hold is not settled, never a failure.

    Args:
        evidence: What was measured.
        involved: Contenders whose figures the decision rests on, the candidate among them.
        claims: How many claims apply.
        uses: Runs that have used the held-out set, this one counted; 0 where nobody noted it.
        leaked: Held-out examples that the candidate could learn from.
    """
    checks = [_claimed(claims, evidence), _enough(evidence), _unseen(evidence, leaked)]
    checks.append(_fresh(evidence, uses))
    candidate = evidence.reports[CANDIDATE]
    if evidence.live.get("champion") == candidate.contender.model_digest:
        checks.append(_itself(candidate.n))
    for name in involved:
        checks.append(_sound(evidence, name))
        if name in evidence.reports:
            checks.append(_answered(evidence, name))
    if candidate.noise is not None:
        checks.append(_noise(candidate))
    return checks


def _claimed(claims: int, evidence: Evidence) -> Check:
    return Check(
        name="something to prove",
        kind="precondition",
        verdict=passes(claims > 0),
        value=claims,
        threshold=1,
        n=evidence.dataset.held_out.rows,
        sentence=f"The spec makes {counted(claims, 'claim')} that can be held against who is there."
        if claims
        else "The spec claims nothing that can be held against who is there: set gate.beats.",
    )


def _enough(evidence: Evidence) -> Check:
    n, least = evidence.reports[CANDIDATE].n, evidence.spec.gate.min_examples
    good = n >= least
    return Check(
        name="enough examples",
        kind="precondition",
        verdict=passes(good),
        value=n,
        threshold=least,
        n=n,
        sentence=f"The held-out set has {counted(n, 'example')}"
        + ("." if good else f", fewer than the {least} that the gate asks for."),
        needed=None if good else least - n,
    )


def _unseen(evidence: Evidence, leaked: int) -> Check:
    rows = evidence.dataset.held_out.rows
    return Check(
        name="no leaked rows",
        kind="precondition",
        verdict=passes(leaked == 0),
        value=leaked,
        threshold=0,
        n=rows,
        sentence=f"{leaked:,} of the {counted(rows, 'held-out example')} also stand on the training side"
        + (": the scores are no evidence; prepare the data again." if leaked else "."),
    )


def _fresh(evidence: Evidence, uses: int) -> Check:
    most = evidence.spec.gate.fresh_after
    said = f"This is use {uses} of the held-out set" if uses > 0 else "No use of the held-out set was noted"
    good = 1 <= uses <= most
    return Check(
        name="a fresh held-out set",
        kind="precondition",
        verdict=passes(good),
        value=uses,
        threshold=most,
        n=evidence.dataset.held_out.rows,
        sentence=said + (f"; {most} are allowed." if good else _not_fresh(uses, most)),
    )


def _not_fresh(uses: int, most: int) -> str:
    if uses > most:
        return f", and only {most} are allowed: too much has been learned of it. Hold out fresh rows."
    return ", so that nobody can say how often it was: start a new run, which notes its own."


def _itself(n: int) -> Check:
    return Check(
        name="a new model",
        kind="precondition",
        verdict=Verdict.INCONCLUSIVE,
        value=0,
        n=n,
        sentence="The candidate is the very model that serves already.",
    )


def _sound(evidence: Evidence, name: str) -> Check:
    trouble, rows = evidence.trouble(name), evidence.dataset.held_out.rows
    return Check(
        name=f"evidence of {name}",
        kind="precondition",
        verdict=passes(not trouble),
        value=None,
        n=rows,
        sentence=trouble
        or f"{name} has a score of {evidence.spec.gate.metric} for each of the {rows:,} held-out examples.",
    )


def _answered(evidence: Evidence, name: str) -> Check:
    most = evidence.spec.gate.max_failed
    n, failed = evidence.reports[name].n, evidence.failed(name)
    share = failed / n if n else 1.0
    good = share <= most
    return Check(
        name=f"answers of {name}",
        kind="precondition",
        verdict=passes(good),
        value=share,
        threshold=most,
        n=n,
        sentence=f"{failed} of {counted(n, 'call')} to {name} failed"
        + ("." if good else f", more than {most:.1%}: the scores cannot be trusted."),
    )


def _noise(candidate: EvalReport) -> Check:
    noise = candidate.noise
    assert noise is not None
    return Check(
        name="run-to-run noise",
        kind="precondition",
        verdict=Verdict.PROMOTE,
        value=noise.value,
        low=noise.low,
        high=noise.high,
        n=noise.n,
        sentence=f"Asked again, {noise.value:.1%} [{noise.low:.1%}, {noise.high:.1%}] of"
        f" {counted(noise.n, 'example')} got another score: the bounds below hold this already.",
    )
