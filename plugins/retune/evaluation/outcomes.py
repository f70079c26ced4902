"""What a contender answered, example by example."""

from __future__ import annotations

from retune.artifacts import Artifacts
from retune.evaluation.metrics.base import Task
from retune.evaluation.metrics.json_fields import same_json
from retune.evaluation.respondents import Answer, readable
from retune.evaluation.schemas import NotJSONError, read_json
from retune.records import EvalReport, Outcome
from retune.text.conversations import Conversation


def outcome_of(example: Conversation, answer: Answer, task: Task) -> Outcome:
    """Return what an answer is worth: the label that it names, and whether it is the expected one.

    Args:
        example: What was asked, and the answer that was wanted.
        answer: What came, judged as it stands, also where it was cut. Halves of characters, which no
            UTF-8 can hold, become U+FFFD.
        task: What answers are held against.
    """
    text = readable(answer.text)
    return Outcome(
        id=example.id,
        prompt=example.prompt,
        expected=example.completion,
        answer=text,
        predicted=task.label_of(text) if task.labels else text.strip(),
        correct=not answer.error and _right(text, example.completion, task),
        error=answer.error,
        latency_s=answer.latency_s,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        cut=answer.cut,
    )


def read_outcomes(report: EvalReport, artifacts: Artifacts) -> list[Outcome]:
    """Return a report's per-example outcomes."""
    lines = artifacts.get_bytes(report.outcomes.digest).splitlines()
    return [Outcome.model_validate_json(line) for line in lines]


def _right(text: str, expected: str, task: Task) -> bool:
    """Say whether an answer is the expected one: the same label, the same JSON, or the same text."""
    if task.labels:
        label = task.label_of(text)
        return bool(label) and label == task.label_of(expected)
    if task.kind == "extraction":
        try:
            return same_json(read_json(text), read_json(expected), task.normalised)
        except (NotJSONError, RecursionError):
            return text.strip() == expected.strip()
    return task.normalised(text) == task.normalised(expected)
