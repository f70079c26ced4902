"""The gate: a pure function from evidence to PROMOTE, REJECT or INCONCLUSIVE.

It fails closed: what is missing, of another set or too small never promotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from retune.records import Check, Dataset, Decision, EvalReport, Outcome, Verdict
from retune.spec import PipelineSpec
from retune.stats.intervals import paired_difference


def decide(
    spec: PipelineSpec,
    dataset: Dataset,
    reports: Mapping[str, EvalReport],
    outcomes: Mapping[str, Sequence[Outcome]],
    champion_digest: str | None,
) -> Decision:
    """Decide on a candidate by the spec's gate.

    `beats` is passed when the whole interval of the paired difference lies above the least gain,
    `not_worse_than` when it lies above minus the margin; each is refused when the whole interval
    lies at or below it, and not settled otherwise.

    Args:
        spec: The frozen spec.
        dataset: The data whose held-out set was asked.
        reports: `base`, `candidate` and, where one serves, `champion`.
        outcomes: The same keys: per-example outcomes.
        champion_digest: Digest of the model that serves now; None where none does.

    Raises:
        KeyError: There is no candidate's report.
    """
    candidate = reports["candidate"]
    claims: dict[str, tuple[str, float]] = {"base": ("beats", spec.gate.beats.base or 0.0)}
    if champion_digest is not None:
        claims["champion"] = ("not_worse_than", -(spec.gate.not_worse_than.champion or 0.0))
    checks = [_enough(spec, candidate.n)]
    checks += [_answered(spec, name, report) for name, report in sorted(reports.items())]
    if champion_digest == candidate.contender.model_digest:
        checks.append(_itself(candidate.n))
    for name, (rule, threshold) in claims.items():
        trouble = _incomparable(spec, dataset, name, reports, outcomes)
        if not trouble and name == "champion" and reports[name].contender.model_digest != champion_digest:
            trouble = f"The champion that was evaluated is not {champion_digest}, which serves now."
        if trouble:
            checks.append(
                Check(
                    name=f"{rule} {name}",
                    verdict=Verdict.INCONCLUSIVE,
                    value=None,
                    threshold=threshold,
                    n=0,
                    sentence=trouble,
                )
            )
        else:
            checks.append(_compare(spec, rule, name, threshold, outcomes["candidate"], outcomes[name]))
    verdict = _overall(checks)
    return Decision(
        spec_digest=spec.digest,
        verdict=verdict,
        reason=_reason(checks, verdict),
        checks=tuple(checks),
        candidate=candidate.contender,
        reports=dict(reports),
        dataset_digest=dataset.digest,
    )


def _reason(checks: Sequence[Check], verdict: Verdict) -> str:
    """Join the sentences that carry the verdict; a promotion rests on what was compared."""
    if verdict is Verdict.PROMOTE:
        compared = ("beats", "not_worse_than")
        return " ".join(check.sentence for check in checks if check.name.split()[0] in compared)
    carrying = [check for check in checks if check.verdict is verdict]
    measured = [check for check in carrying if check.value is not None]
    return " ".join(check.sentence for check in measured or carrying)


def _overall(checks: Sequence[Check]) -> Verdict:
    verdicts = {check.verdict for check in checks}
    if Verdict.REJECT in verdicts:
        return Verdict.REJECT
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.PROMOTE


def _enough(spec: PipelineSpec, n: int) -> Check:
    least = spec.gate.min_examples
    good = n >= least
    return Check(
        name="enough examples",
        verdict=Verdict.PROMOTE if good else Verdict.INCONCLUSIVE,
        value=n,
        threshold=least,
        n=n,
        sentence=f"The held-out set has {n} examples"
        + ("." if good else f", fewer than the {least} that the gate asks for."),
    )


def _answered(spec: PipelineSpec, name: str, report: EvalReport) -> Check:
    share = report.failed / report.n if report.n else 1.0
    good = share <= spec.gate.max_failed
    return Check(
        name=f"answers of {name}",
        verdict=Verdict.PROMOTE if good else Verdict.INCONCLUSIVE,
        value=share,
        threshold=spec.gate.max_failed,
        n=report.n,
        sentence=f"{report.failed} of {report.n} calls to {name} failed"
        + ("." if good else f", more than {spec.gate.max_failed:.1%}: the scores cannot be trusted."),
    )


def _itself(n: int) -> Check:
    return Check(
        name="a new model",
        verdict=Verdict.INCONCLUSIVE,
        value=0,
        n=n,
        sentence="The candidate is the very model that serves already.",
    )


def _incomparable(
    spec: PipelineSpec,
    dataset: Dataset,
    name: str,
    reports: Mapping[str, EvalReport],
    outcomes: Mapping[str, Sequence[Outcome]],
) -> str:
    """Say why the candidate cannot be compared with a contender; empty where it can."""
    for who in ("candidate", name):
        if who not in reports or who not in outcomes:
            return f"There is no evaluation of {who}."
        report = reports[who]
        metric = report.metrics.get(spec.gate.metric)
        if metric is None or not isfinite(metric.value):
            return f"{who} has no value of {spec.gate.metric}."
        if report.set_name != "held_out" or report.set_digest != dataset.held_out.artifact.digest:
            return f"{who} was evaluated on another set than this dataset's held-out set."
        if len(outcomes[who]) != dataset.held_out.rows or report.n != dataset.held_out.rows:
            return f"{who} has {len(outcomes[who])} outcomes for {dataset.held_out.rows} held-out examples."
    mine = [outcome.id for outcome in outcomes["candidate"]]
    if len(set(mine)) != len(mine) or {outcome.id for outcome in outcomes[name]} != set(mine):
        return f"candidate and {name} were not asked the same examples."
    return ""


def _compare(
    spec: PipelineSpec,
    rule: str,
    name: str,
    threshold: float,
    candidate: Sequence[Outcome],
    other: Sequence[Outcome],
) -> Check:
    theirs = {outcome.id: outcome.correct for outcome in other}
    pairs = [(outcome.correct, theirs[outcome.id]) for outcome in candidate]
    value, low, high = paired_difference(
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        pairs.count((False, False)),
        spec.gate.confidence,
    )
    points = 100 * threshold
    aim = f"gain more than {points:.1f}" if rule == "beats" else f"lose less than {-points:.1f}"
    if low > threshold:
        verdict, finding = Verdict.PROMOTE, f"shown to {aim}"
    elif high <= threshold:
        verdict, finding = Verdict.REJECT, f"shown not to {aim}"
    else:
        verdict, finding = Verdict.INCONCLUSIVE, f"whether it would {aim} is not settled"
    return Check(
        name=f"{rule} {name}",
        verdict=verdict,
        value=value,
        low=low,
        high=high,
        threshold=threshold,
        n=len(pairs),
        sentence=(
            f"Candidate against {name}: {100 * value:+.1f} points of {spec.gate.metric} "
            f"[{100 * low:+.1f}, {100 * high:+.1f}] on {len(pairs)} examples; "
            f"{finding}."
        ),
    )
