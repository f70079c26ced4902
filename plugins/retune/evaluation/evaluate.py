"""Lets one contender answer one set of examples."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal

from retune.artifacts import Artifacts
from retune.errors import DataError
from retune.evaluation.client import ask_all
from retune.evaluation.contenders import respondent_for
from retune.evaluation.metrics import METRICS
from retune.evaluation.respondents import Answer
from retune.records import Contender, EvalReport, Outcome, Split
from retune.settings import Connections
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation, read_conversations
from retune.text.labels import match_label

_OUTCOMES = "application/x-ndjson"


def evaluate(
    contender: Contender,
    split: Split,
    set_name: Literal["validation", "held_out"],
    *,
    spec: PipelineSpec,
    labels: Sequence[str],
    connections: Connections,
    artifacts: Artifacts,
    report: Callable[[str], None] = print,
) -> EvalReport:
    """Ask a contender every example of a set and keep each answer.

    Args:
        contender: Who answers, and where; an adapter must be loaded there.
        split: The examples.
        set_name: Which side of the split they are.
        spec: The frozen spec.
        labels: The classes an answer may name; empty where any text may be one.
        connections: Where addresses and credentials come from.
        artifacts: Takes the outcomes.
        report: Takes progress lines.

    Raises:
        EndpointError: The contender cannot be reached, or is not served.
        SetupError: Its connection says too little.
        DataError: The set is empty.
    """
    examples = read_conversations(artifacts.get_bytes(split.artifact.digest))
    if not examples:
        raise DataError(f"the {set_name} set {split.artifact.digest} is empty", "add rows and prepare again")
    # Outside of the event loop, as Airflow asks its server for a connection.
    respondent = respondent_for(contender, spec, connections)
    start = time.perf_counter()
    answers = asyncio.run(
        ask_all(
            [example.context for example in examples],
            respondent,
            max_in_flight=spec.evaluation.max_in_flight,
            report=lambda line: report(f"{contender.name}: {line}"),
        )
    )
    elapsed = time.perf_counter() - start
    outcomes = [_outcome(example, answer, labels) for example, answer in zip(examples, answers, strict=True)]
    result = summarise(
        contender, split, set_name, outcomes, spec=spec, artifacts=artifacts, elapsed_s=elapsed
    )
    accuracy = result.metrics["accuracy"]
    report(
        f"{contender.name}: accuracy {accuracy.value:.3f} "
        f"[{accuracy.low:.3f}, {accuracy.high:.3f}] on {result.n} examples in {elapsed:.1f} s, "
        f"{result.failed} failed"
    )
    return result


def summarise(
    contender: Contender,
    split: Split,
    set_name: Literal["validation", "held_out"],
    outcomes: Sequence[Outcome],
    *,
    spec: PipelineSpec,
    artifacts: Artifacts,
    elapsed_s: float,
) -> EvalReport:
    """Measure outcomes, store them, and return the report."""
    latencies = sorted(outcome.latency_s for outcome in outcomes)
    lines = "".join(outcome.model_dump_json() + "\n" for outcome in outcomes)
    return EvalReport(
        spec_digest=spec.digest,
        contender=contender,
        set_name=set_name,
        set_digest=split.artifact.digest,
        metrics={
            name: metric(outcomes, spec.gate.confidence, spec.seed)
            for name, metric in METRICS.items()
            # Over free texts, each a class of its own, it would be accuracy by another name.
            if spec.task.kind == "classification" or name != "macro_f1"
        },
        outcomes=artifacts.put_bytes(lines.encode(), _OUTCOMES),
        n=len(outcomes),
        failed=sum(bool(outcome.error) for outcome in outcomes),
        latency_p50_s=latencies[len(latencies) // 2],
        latency_p95_s=latencies[int(len(latencies) * 0.95)],
        seconds=elapsed_s,
    )


def read_outcomes(report: EvalReport, artifacts: Artifacts) -> list[Outcome]:
    """Return a report's per-example outcomes."""
    lines = artifacts.get_bytes(report.outcomes.digest).splitlines()
    return [Outcome.model_validate_json(line) for line in lines]


def _outcome(example: Conversation, answer: Answer, labels: Sequence[str]) -> Outcome:
    # A task without labels wants the text itself: an exact match is right.
    predicted = match_label(answer.text, labels) if labels else answer.text.strip()
    return Outcome(
        id=example.id,
        prompt=example.prompt,
        expected=example.completion,
        answer=answer.text,
        predicted=predicted,
        correct=not answer.error and predicted == example.completion,
        error=answer.error,
        latency_s=answer.latency_s,
    )
