"""Accuracy."""

from __future__ import annotations

from retune.evaluation.metrics.base import MeanMetric, Task
from retune.records import Outcome


class Accuracy(MeanMetric):
    """Share of right answers: the expected label, the same JSON, or the same text, as normalised."""

    name = "accuracy"

    def score(self, outcome: Outcome, task: Task) -> float:
        """Return 1 where the answer is right; a failed call is not."""
        return float(outcome.correct)
