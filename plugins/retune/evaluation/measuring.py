"""From outcomes to a report with its figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from retune.artifacts import Artifacts
from retune.errors import DataError, SetupError
from retune.evaluation.metrics import Metric, NotMeasuredError, ScoresExamples, Task, metrics_for
from retune.evaluation.rules import read_rules
from retune.evaluation.schemas import read_schema
from retune.records import Contender, EvalReport, MetricValue, Outcome, Split
from retune.records.evaluation import SetName
from retune.settings import Settings
from retune.spec import PipelineSpec

_OUTCOMES = "application/x-ndjson"


def task_of(spec: PipelineSpec, labels: Sequence[str], settings: Settings | None = None) -> Task:
    """Return what answers are held against, and make sure that all can be measured that the spec names.

    Comes before anything is asked, so that nothing is paid for answers that cannot be judged.

    Args:
        spec: The frozen spec.
        labels: The classes an answer may name; empty where any text may be one.
        settings: Against whose project the answers' schema resolves; needed where the spec names one.

    Raises:
        SpecError: A schema, rule, label or metric of the spec cannot be used; says where and why.
        SetupError: A metric cannot be loaded, or the schema's project is not known.
    """
    schema = None
    if named := spec.task.answer_schema:
        if settings is None:
            raise SetupError(
                f"task.answer_schema names {named}, and nothing says where the project is",
                "evaluate with the installation's settings",
            )
        schema = read_schema(settings.resolve(named), named)
    rules = read_rules(spec.evaluation.rules) if spec.evaluation.rules.given else None
    embeds = bool(spec.evaluation.rag.embeddings)
    task = Task(spec.task.kind, tuple(labels), spec.task.normalise, schema, rules, embeds)
    # Two labels that are one would be found at the first answer only.
    task.label_of("")
    metrics_for(spec, task)
    return task


def scored(outcomes: Sequence[Outcome], task: Task, metrics: Sequence[Metric]) -> list[Outcome]:
    """Return outcomes with the score of every metric that has one for an example.

    A score that an outcome brings, such as a judge's, stays. What is no number of 0 to 1 is no score.

    Args:
        outcomes: What a contender answered.
        task: What answers are held against.
        metrics: Those of `metrics_for`.
    """
    found = []
    for outcome in outcomes:
        scores = dict(outcome.scores)
        for metric in metrics:
            if isinstance(metric, ScoresExamples) and metric.name not in scores:
                score = metric.score(outcome, task)
                if score is not None:
                    scores[metric.name] = score
        told = {name: score for name, score in scores.items() if 0 <= score <= 1}
        found.append(outcome.model_copy(update={"scores": told}))
    return found


def measured(
    outcomes: Sequence[Outcome],
    task: Task,
    metrics: Sequence[Metric],
    *,
    confidence: float,
    seed: int,
    report: Callable[[str], None],
) -> dict[str, MetricValue]:
    """Return figure -> value; a figure that cannot be told is absent, and one line says why.

    Args:
        outcomes: At least one, with their scores.
        task: What answers are held against.
        metrics: Those of `metrics_for`.
        confidence: Two-sided coverage of the intervals.
        seed: Makes resampled intervals repeatable.
        report: Takes a line for each metric, or figure, that is absent or not of all examples.
    """
    found: dict[str, MetricValue] = {}
    for metric in metrics:
        if isinstance(metric, ScoresExamples):
            without = sum(metric.name not in outcome.scores for outcome in outcomes)
            if 0 < without < len(outcomes):
                report(f"{metric.name}: {without} of {len(outcomes)} examples have no score")
        try:
            figures = metric.measure(outcomes, task, confidence, seed)
        except NotMeasuredError as error:
            report(f"{metric.name} is not measured: {error}")
            continue
        for name, value in figures.items():
            if all(math.isfinite(end) for end in (value.value, value.low, value.high)):
                found[name] = value
            else:
                report(f"{name} is not measured: it came out as {value.value} [{value.low}, {value.high}]")
    return found


def summarise(
    contender: Contender,
    split: Split,
    set_name: SetName,
    outcomes: Sequence[Outcome],
    *,
    spec: PipelineSpec,
    artifacts: Artifacts,
    elapsed_s: float,
    task: Task | None = None,
    report: Callable[[str], None] = print,
) -> EvalReport:
    """Score and measure outcomes, store them, and return the report.

    Args:
        contender: Who answered.
        split: What it was asked.
        set_name: Which set that is.
        outcomes: Its answers; scores that they bring stay.
        spec: The frozen spec.
        artifacts: Takes the outcomes.
        elapsed_s: How long the answers took together.
        task: That of `task_of`; None: of a spec without labels and schema.
        report: Takes a line for each figure that cannot be told.

    Raises:
        DataError: There is no outcome.
    """
    if not outcomes:
        raise DataError(f"{contender.name} answered no example of the {set_name} set", "add rows")
    task = task or task_of(spec, ())
    metrics = metrics_for(spec, task)
    kept = scored(outcomes, task, metrics)
    figures = measured(kept, task, metrics, confidence=spec.gate.confidence, seed=spec.seed, report=report)
    latencies = sorted(outcome.latency_s for outcome in kept)
    lines = "".join(outcome.model_dump_json() + "\n" for outcome in kept)
    return EvalReport(
        spec_digest=spec.digest,
        contender=contender,
        set_name=set_name,
        set_digest=split.artifact.digest,
        metrics=figures,
        outcomes=artifacts.put_bytes(lines.encode(), _OUTCOMES),
        n=len(kept),
        failed=sum(bool(outcome.error) for outcome in kept),
        latency_p50_s=latencies[len(latencies) // 2],
        latency_p95_s=latencies[int(len(latencies) * 0.95)],
        seconds=elapsed_s,
    )
