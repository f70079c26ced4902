"""Outcomes for tests of metrics."""

from __future__ import annotations

from collections.abc import Sequence

from retune.evaluation.measuring import measured, scored
from retune.evaluation.metrics import Task, load_metric
from retune.evaluation.outcomes import outcome_of
from retune.evaluation.respondents import Answer
from retune.records import MetricValue, Outcome
from retune.text.conversations import conversation


def outcome(expected: str, answer: str, task: Task, error: str = "", group: str = "") -> Outcome:
    """What an answer is worth, as an evaluation finds it."""
    example = conversation("", f"question for {expected}", expected)
    found = outcome_of(example, Answer("" if error else answer, error, 0.0), task)
    return found.model_copy(update={"group": group})


def outcomes(pairs: Sequence[tuple[str, str]], task: Task) -> list[Outcome]:
    """Outcomes of pairs of expected text and answer."""
    return [outcome(expected, answer, task) for expected, answer in pairs]


def measure(name: str, found: Sequence[Outcome], task: Task) -> dict[str, MetricValue]:
    """The figures of a metric; what cannot be measured is absent."""
    metric = load_metric(name)
    told = scored(found, task, [metric])
    return measured(told, task, [metric], confidence=0.95, seed=1, report=print)
