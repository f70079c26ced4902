"""The guards with a limit of their own: latency, cost, the form of answers.

A figure within its limit passes; one beyond it fails where the whole interval lies beyond, and is not settled
where the interval still touches the limit. What was not measured is not settled.
"""

from __future__ import annotations

from math import isfinite

from retune.evaluation.gate.evidence import CANDIDATE, Evidence
from retune.evaluation.gate.sentences import counted, passes
from retune.records import Check, Latency, Outcome, Verdict


def check_limits(evidence: Evidence) -> list[Check]:
    """Return a check for each limit that the spec sets."""
    gate = evidence.spec.gate
    checks = []
    if gate.latency_p95_ms is not None:
        checks.append(_latency(evidence, gate.latency_p95_ms))
    if gate.cost_per_1000_usd is not None:
        checks.append(_cost(evidence, gate.cost_per_1000_usd))
    if gate.valid_format is not None:
        checks.append(_form(evidence, gate.valid_format))
    return checks


def _latency(evidence: Evidence, limit_ms: float) -> Check:
    found = evidence.reports[CANDIDATE].latency
    trouble = _unusable(found, evidence.spec.evaluation.latency.concurrency)
    if trouble or found is None:
        return _unknown("latency p95", limit_ms, trouble)
    value, low, high = 1000 * found.p95_s, 1000 * found.p95_low_s, 1000 * found.p95_high_s
    verdict = _against(value, low, limit_ms)
    measured = (
        f"p95 of the candidate is {value:,.0f} ms [{low:,.0f}, {high:,.0f}] on {counted(found.n, 'call')},"
        f" {found.concurrency} at once, and {limit_ms:,.0f} are allowed"
    )
    if verdict is Verdict.REJECT:
        ending = ": shown to be slower."
    elif verdict is Verdict.INCONCLUSIVE:
        ending = ": slower as measured, but not shown. Raise evaluation.latency.requests."
    else:
        ending = "." if high <= limit_ms else "; that it keeps to them is not shown."
    return Check(
        name="latency p95",
        kind="guard",
        verdict=verdict,
        value=value,
        low=low,
        # Few calls may bound the quantile from below only.
        high=high if isfinite(high) else None,
        threshold=limit_ms,
        n=found.n,
        sentence=measured + ending,
        method="measured by itself; distribution-free interval of the quantile",
    )


def _unusable(found: Latency | None, concurrency: int) -> str:
    """Say why a latency cannot be held against the limit; empty where it can."""
    if found is None:
        return "The candidate's latency was not measured by itself."
    if found.n < 1 or not (isfinite(found.p95_s) and isfinite(found.p95_low_s)):
        return f"The candidate's latency is no number: p95 {found.p95_s} s on {found.n} calls."
    if found.concurrency != concurrency:
        return f"Latency was measured at {found.concurrency} calls at once, and the spec says {concurrency}."
    return ""


def _cost(evidence: Evidence, limit: float) -> Check:
    report = evidence.reports[CANDIDATE]
    cost = report.cost_per_1000_usd
    if cost is None or not isfinite(cost) or cost < 0:
        seen = "not known" if cost is None else f"no price: {cost}"
        return _unknown(
            "cost", limit, f"What a thousand answers of the candidate cost is {seen}; name the prices."
        )
    good = cost <= limit
    return Check(
        name="cost",
        kind="guard",
        verdict=Verdict.PROMOTE if good else Verdict.REJECT,
        value=cost,
        threshold=limit,
        n=report.n,
        sentence=f"A thousand answers of the candidate cost ${cost:,.4g}, and ${limit:,.4g} are allowed.",
        method="tokens of the held-out answers times their price",
    )


def _form(evidence: Evidence, least: float) -> Check:
    from retune.stats.intervals import proportion

    metric = evidence.spec.task.form_metric
    answers = [outcome for outcome in evidence.outcomes.get(CANDIDATE, ()) if not outcome.error]
    bad = sum(not _scored(outcome, metric) for outcome in answers)
    if bad or not answers:
        sentence = f"{bad} of {counted(len(answers), 'answer')} of the candidate have no score of {metric}."
        return _unknown("valid format", least, sentence)
    n, valid = len(answers), sum(outcome.scores[metric] == 1 for outcome in answers)
    low, high = proportion(valid, n, evidence.spec.gate.confidence)
    verdict = _against(-valid / n, -high, -least)
    endings = {
        Verdict.PROMOTE: ".",
        Verdict.REJECT: ": shown to be too few.",
        Verdict.INCONCLUSIVE: ": too few as measured, but not shown.",
    }
    return Check(
        name="valid format",
        kind="guard",
        verdict=verdict,
        value=valid / n,
        low=low,
        high=high,
        threshold=least,
        n=n,
        sentence=f"{valid / n:.1%} [{low:.1%}, {high:.1%}] of {counted(n, 'answer')} have the right form"
        f" ({metric}), and {least:.1%} are asked for{endings[verdict]}",
        method="exact interval (Clopper and Pearson 1934)",
    )


def _scored(outcome: Outcome, metric: str) -> bool:
    score = outcome.scores.get(metric)
    return score is not None and 0 <= score <= 1


def _against(value: float, low: float, limit: float) -> Verdict:
    """Hold a figure of which less is better against its limit."""
    if value <= limit:
        return Verdict.PROMOTE
    return Verdict.REJECT if low > limit else Verdict.INCONCLUSIVE


def _unknown(name: str, threshold: float, sentence: str) -> Check:
    return Check(
        name=name,
        kind="guard",
        verdict=passes(False),
        value=None,
        threshold=threshold,
        n=0,
        sentence=sentence,
    )
