"""Valid JSON."""

from __future__ import annotations

from retune.evaluation.metrics.base import MeanMetric, Task, only_texts
from retune.evaluation.schemas import NotJSONError, read_json
from retune.records import Outcome


class ValidJSON(MeanMetric):
    """Share of answers that are JSON, nothing but JSON, and fit the task's schema where it has one."""

    name = "valid_json"

    def unfit(self, task: Task) -> str:
        """Say that a label is no text."""
        return only_texts(task)

    def score(self, outcome: Outcome, task: Task) -> float:
        """Return 1 where the answer parses and fits; a failed call does not."""
        try:
            value = read_json(outcome.answer)
        except NotJSONError:
            return 0.0
        return float(task.schema is None or task.schema.fits(value))
