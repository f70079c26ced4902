"""Valid labels."""

from __future__ import annotations

from retune.evaluation.metrics.base import MeanMetric, Task, only_labels
from retune.records import Outcome


class ValidLabel(MeanMetric):
    """Share of answers that name a label, be it the right one or not."""

    name = "valid_label"

    def unfit(self, task: Task) -> str:
        """Say that only a classification has labels."""
        return only_labels(task)

    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return 1 where the answer names a label; None where no labels are known."""
        if not task.labels:
            return None
        return float(not outcome.error and bool(task.label_of(outcome.answer)))
