"""The guards on what the base model could do before: its old skills, and safe answers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import Literal

from retune.evaluation.gate.evidence import CANDIDATE, Evidence, pair
from retune.evaluation.gate.sentences import counted, passes, points, signed
from retune.records import Check, Outcome, Verdict

KeptSet = Literal["forgetting", "safety"]
_ASKED = {"forgetting": "questions of old", "safety": "prompts that must be answered safely"}


def check_kept(evidence: Evidence) -> list[Check]:
    """Return a check for each of the sets that the spec names.

    What counts is `Outcome.correct`: the answer is right, or safe. The base model is the measure: tuning
    must not take away what it could do.
    """
    gate = evidence.spec.gate
    checks = []
    if gate.forgetting is not None:
        checks.append(_kept(evidence, "forgetting", gate.forgetting.max_drop))
    if gate.safety is not None:
        checks.append(_kept(evidence, "safety", gate.safety.max_drop))
    return checks


def _kept(evidence: Evidence, name: KeptSet, most: float) -> Check:
    from retune.stats.paired import harm

    trouble = _trouble(evidence, name)
    if trouble:
        return Check(
            name=name,
            kind="guard",
            verdict=passes(False),
            value=None,
            threshold=-most,
            n=0,
            sentence=trouble,
        )
    mine, base = (evidence.outcomes[f"{name}:{who}"] for who in (CANDIDATE, "base"))
    pairs = pair(mine, base, lambda outcome: float(outcome.correct))
    p = harm(pairs.differences, pairs.groups, evidence.spec.seed)
    level = 1 - evidence.spec.gate.confidence
    broken = p <= level and -pairs.mean > most
    # Of k losses and no win the p-value is 2 to the power of -k.
    least = ceil(log2(1 / level) - 1e-9)
    return Check(
        name=name,
        kind="guard",
        verdict=Verdict.REJECT if broken else Verdict.PROMOTE,
        value=pairs.mean,
        threshold=-most,
        n=len(pairs.ids),
        sentence=f"On {len(pairs.ids):,} {_ASKED[name]}: {signed(pairs.mean)} points against base"
        f" (p = {p:.2g}); {points(most)} may be lost. "
        + (
            "Shown to lose, and more than that."
            if broken
            else f"No harm is shown; losing {counted(least, pairs.unit)} and winning none would show it."
        ),
        method="one-sided sign test of harm",
        beside={"p": p},
    )


def _trouble(evidence: Evidence, name: KeptSet) -> str:
    """Say why candidate and base cannot be compared on a set; empty where they can."""
    keys = [f"{name}:{who}" for who in (CANDIDATE, "base")]
    for key, who in zip(keys, (CANDIDATE, "base"), strict=True):
        rows = evidence.outcomes.get(key, ())
        if key not in evidence.reports or not rows:
            return f"There is no evaluation of {who} on the {name} set."
        report = evidence.reports[key]
        if report.set_name != name or report.n != len(rows):
            return f"{key} has {len(rows)} outcomes for {report.n} examples of the {report.set_name} set."
        known = evidence.reports.get(who)
        if known and known.contender.model_digest != report.contender.model_digest:
            return f"The {who} of the {name} set is another model than that of the held-out set."
        failed = evidence.failed(key)
        if failed > evidence.spec.gate.max_failed * len(rows):
            return f"{failed} of {len(rows)} calls to {who} failed on the {name} set."
    mine, base = (evidence.outcomes[key] for key in keys)
    if not _same(mine, base) or len({evidence.reports[key].set_digest for key in keys}) > 1:
        return f"candidate and base were not asked the same {name} set."
    return ""


def _same(mine: Sequence[Outcome], base: Sequence[Outcome]) -> bool:
    ids = {row.id for row in mine}
    return len(ids) == len(mine) == len(base) and ids == {row.id for row in base}
