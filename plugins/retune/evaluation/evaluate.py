"""Lets one contender answer one set of examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from retune.artifacts import Artifacts
from retune.errors import DataError
from retune.evaluation.asking_costs import cost_per_1000
from retune.evaluation.measuring import scored, summarise, task_of
from retune.evaluation.metrics import Task, metrics_for
from retune.evaluation.noise import asked_again, noise_of
from retune.evaluation.outcomes import read_outcomes
from retune.evaluation.prompting.base import Prompter
from retune.evaluation.questioner import PLAIN, Questioner
from retune.records import Contender, EvalReport, MetricValue, Outcome, Split
from retune.records.evaluation import SetName
from retune.records.training import Attributes
from retune.settings import Connections, Settings
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation, read_conversations

__all__ = ["Judge", "evaluate", "read_outcomes", "summarise"]

Judge = Callable[[list[Outcome]], list[Outcome]]
"""Takes outcomes and returns them with `correct` and `scores` as it sees them."""


def evaluate(
    contender: Contender,
    split: Split,
    set_name: SetName,
    *,
    spec: PipelineSpec,
    labels: Sequence[str],
    connections: Connections,
    artifacts: Artifacts,
    settings: Settings | None = None,
    prompter: Prompter = PLAIN,
    base_model: str = "",
    latency: bool = False,
    noise: bool = False,
    judge: Judge | None = None,
    report: Callable[[str], None] = print,
) -> EvalReport:
    """Ask a contender every example of a set and keep each answer.

    Answers are kept on this host as they come, so that a run that was killed goes on where it stopped,
    and the same question to the same model is asked once.

    Args:
        contender: Who answers, and where; an adapter must be loaded there.
        split: The examples.
        set_name: Which set they are.
        spec: The frozen spec.
        labels: The classes an answer may name; empty where any text may be one.
        connections: Where addresses and credentials come from.
        artifacts: Takes the outcomes.
        settings: Where answers are kept, prices and the answers' schema are found; None: no answer is
            kept and no cost is known.
        prompter: Makes the messages that the contender is shown.
        base_model: What a tuned model was trained from: its price is looked up by it where the
            model's own name has none.
        latency: Whether latency is measured, by itself, before the set is asked.
        noise: Whether some examples are asked twice, to see how far scores vary by themselves.
        judge: Says which answers are right where the task's own rule does not, as in a safety set.
        report: Takes progress lines.

    Raises:
        EndpointError: The contender cannot be reached, is not served, or stopped answering.
        SetupError: Its connection says too little, or answers cannot be kept.
        SpecError: What the spec names cannot be used: a metric, a schema, the project's prices.
        DataError: The set is empty.
    """
    examples = read_conversations(artifacts.get_bytes(split.artifact.digest))
    if not examples:
        raise DataError(f"the {set_name} set {split.artifact.digest} is empty", "add rows and prepare again")
    task = task_of(spec, labels, settings)

    def tell(line: str) -> None:
        report(f"{contender.name}: {line}")

    questioner = Questioner(
        contender,
        spec=spec,
        connections=connections,
        settings=settings,
        prompter=prompter,
        base_model=base_model,
        report=tell,
    )
    more: dict[str, Any] = {"latency": questioner.latency(examples)} if latency else {}
    start = time.perf_counter()
    outcomes = questioner.outcomes(examples, task, _attributes(split, artifacts))
    elapsed = time.perf_counter() - start
    if judge is not None:
        outcomes = judge(outcomes)
    if noise and spec.evaluation.noise_examples:
        more["noise"] = _noise(questioner, examples, outcomes, task, spec)
    found = summarise(
        contender,
        split,
        set_name,
        outcomes,
        spec=spec,
        artifacts=artifacts,
        elapsed_s=elapsed,
        task=task,
        report=tell,
    ).model_copy(update={**more, "cost_per_1000_usd": cost_per_1000(outcomes)})
    tell(_summary(found, spec.gate.metric))
    return found


def _attributes(split: Split, artifacts: Artifacts) -> dict[str, Attributes]:
    """Return example's id -> what it belongs to; empty where the split does not say it."""
    if split.attributes is None:
        return {}
    lines = artifacts.get_bytes(split.attributes.digest).splitlines()
    found = [Attributes.model_validate_json(line) for line in lines]
    return {one.id: one for one in found}


def _noise(
    questioner: Questioner,
    examples: Sequence[Conversation],
    outcomes: Sequence[Outcome],
    task: Task,
    spec: PipelineSpec,
) -> MetricValue | None:
    """Ask some examples again and return the share whose score changed."""
    few = asked_again(examples, spec.evaluation.noise_examples, spec.seed)
    again = questioner.outcomes(few, task, {}, keep=False)
    metrics = metrics_for(spec, task)
    first, second = (scored(some, task, metrics) for some in (outcomes, again))
    return noise_of(first, second, spec.gate.metric, spec.gate.confidence)


def _summary(report: EvalReport, metric: str) -> str:
    value = report.metrics.get(metric)
    measured = (
        f"{metric} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" if value else f"{metric} is missing"
    )
    cost = report.cost_per_1000_usd
    return f"{measured} on {report.n} examples in {report.seconds:.1f} s, {report.failed} failed" + (
        f", ${cost:.4f} per 1,000 answers" if cost is not None else ""
    )
