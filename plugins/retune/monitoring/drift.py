"""Has the traffic moved away from what the live release was judged on?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from statistics import fmean

from pydantic import ValidationError

from retune.artifacts import Artifacts
from retune.errors import ArtifactError, DataError
from retune.monitoring import page
from retune.monitoring.comparison import AUC, KS, LABELS, Column, compare
from retune.monitoring.content import newness
from retune.monitoring.descriptors import Vocabulary, describe
from retune.records import DriftedColumn, DriftReport, Exchange, Outcome, Release
from retune.spec import PipelineSpec
from retune.stats import drift_threshold
from retune.text.labels import Labels

_NO_LABEL = "(no label)"
_TOLD = 3  # columns that the reason names


def check_drift(
    release: Release,
    spec: PipelineSpec,
    exchanges: Sequence[Exchange],
    *,
    artifacts: Artifacts,
    now: datetime,
) -> DriftReport:
    """Compare captured requests of a release with the held-out examples it was judged on.

    A column has moved when its distance passes both what matters and what chance can do
    (`retune.stats.drift_threshold`); the traffic has, when `watch.drift_share` of the columns have.

    Args:
        release: The live release; the reference is how it answered its held-out set.
        spec: The pipeline.
        exchanges: Answered requests of that release (`capture.read_window`).
        artifacts: Where the page goes and the held-out answers lie.
        now: The end of the window where it holds no request.

    Raises:
        DataError: The release has no held-out answer to compare with.
        ArtifactError: Its held-out answers are missing or damaged.
    """
    reference = _reference(release, artifacts)
    columns: tuple[DriftedColumn, ...] = ()
    if len(exchanges) < spec.watch.min_requests:
        drifted, body = False, page.EMPTY
        reason = f"only {len(exchanges)} of {spec.watch.min_requests} requests since release {release.number}"
    else:
        compared = _columns(reference, exchanges, spec)
        distances, body = compare(compared, spec.watch.drift_share)
        columns = tuple(_judged(column, distances[column.name]) for column in compared)
        needed = max(1, math.ceil(spec.watch.drift_share * len(columns) - 1e-9))
        drifted = sum(column.drifted for column in columns) >= needed
        reason = _reason(compared, columns, needed)
    title = f"{spec.pipeline}, release {release.number}: {'drift' if drifted else 'no drift'}"
    times = [exchange.at for exchange in exchanges]
    return DriftReport(
        spec_digest=spec.digest,
        pipeline=spec.pipeline,
        release=release.number,
        drifted=drifted,
        reason=reason,
        columns=columns,
        reference_rows=len(reference),
        window_rows=len(exchanges),
        window_start=min(times, default=release.created_at),
        window_end=max(times, default=now),
        report=artifacts.put_bytes(page.with_summary(body, title, reason, columns).encode(), "text/html"),
    )


def _reference(release: Release, artifacts: Artifacts) -> list[Outcome]:
    stored = release.report.outcomes
    try:
        lines = artifacts.get_bytes(stored.digest).splitlines()
        outcomes = [Outcome.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError as error:
        raise ArtifactError(
            f"the held-out answers of release {release.number} ({stored.digest}) cannot be read: {error}",
            "evaluate the release again",
        ) from error
    answered = [outcome for outcome in outcomes if not outcome.error]
    if not answered:
        raise DataError(f"release {release.number} has no held-out answer", "evaluate the release again")
    return answered


def _columns(reference: list[Outcome], exchanges: Sequence[Exchange], spec: PipelineSpec) -> list[Column]:
    old, new = [outcome.prompt for outcome in reference], [exchange.prompt for exchange in exchanges]
    # A request that comes again is no new evidence.
    n, m = len(set(old)), len(set(new))
    vocabulary = Vocabulary(old)
    new_values = describe(new, vocabulary)
    bound = drift_threshold.ks_distance(n, m)
    columns = [
        Column(name, KS, values, new_values[name], bound)
        for name, values in describe(old, vocabulary).items()
    ]
    columns.append(_answers(reference, exchanges, spec, n, m))
    scores = newness(old, new, spec.seed)
    if scores is not None:
        bound = drift_threshold.auc(n, m)
        columns.append(Column("content", AUC, scores[: len(old)], scores[len(old) :], bound))
    return columns


def _answers(
    reference: list[Outcome], exchanges: Sequence[Exchange], spec: PipelineSpec, n: int, m: int
) -> Column:
    """Compare what was answered: the labels, or where there are none how long the answers are."""
    if spec.task.kind != "classification":
        lengths = [float(len(outcome.answer)) for outcome in reference]
        new = [float(len(exchange.answer)) for exchange in exchanges]
        return Column("answer length", KS, lengths, new, drift_threshold.ks_distance(n, m))
    names = set(spec.task.labels or (outcome.expected for outcome in reference))
    labels = Labels(names, spec.task.normalise)
    said = [outcome.predicted or _NO_LABEL for outcome in reference]
    says = [labels.match(exchange.answer) or _NO_LABEL for exchange in exchanges]
    shares = [count / len(said) for count in Counter(said).values()]
    bound = drift_threshold.jensen_shannon(shares, n, m, spec.seed)
    return Column("predicted label", LABELS, said, says, bound)


def _judged(column: Column, distance: float) -> DriftedColumn:
    return DriftedColumn(
        name=column.name,
        method=column.method,
        score=round(distance, 6),
        threshold=round(column.threshold, 6),
        drifted=distance >= column.threshold,
    )


def _reason(compared: list[Column], columns: Sequence[DriftedColumn], needed: int) -> str:
    """Name the columns that moved, the farthest beyond its threshold first."""
    moved = sorted(
        (pair for pair in zip(columns, compared, strict=True) if pair[0].drifted),
        key=lambda pair: pair[0].threshold - pair[0].score,
    )
    told = "; ".join(
        f"{judged.name}: {_change(column)} ({judged.score:.2f} over {judged.threshold:.2f})"
        for judged, column in moved[:_TOLD]
    )
    more = f"; and {len(moved) - _TOLD} more" if len(moved) > _TOLD else ""
    count = f"{len(moved)} of {len(columns)} columns moved, {needed} make a drift"
    return f"{count}: {told}{more}" if moved else count


def _change(column: Column) -> str:
    """Say in a few words how the column's values changed."""
    if column.method == AUC:
        return "tells new from old requests"
    if column.method == LABELS:
        old, new = Counter(column.reference), Counter(column.window)
        n, m = old.total(), new.total()
        label = max(sorted({*old, *new}, key=str), key=lambda label: abs(new[label] / m - old[label] / n))
        return f"{label!r} {old[label] / n:.0%} -> {new[label] / m:.0%}"
    old_mean, new_mean = (fmean(map(float, side)) for side in (column.reference, column.window))
    return f"mean {old_mean:.3g} -> {new_mean:.3g}"
