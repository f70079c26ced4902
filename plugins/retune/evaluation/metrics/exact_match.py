"""Exact match."""

from __future__ import annotations

from retune.evaluation.metrics.base import MeanMetric, Task
from retune.records import Outcome


class ExactMatch(MeanMetric):
    """Share of answers that are the expected text to the letter: nothing is normalised, nor trimmed."""

    name = "exact_match"

    def score(self, outcome: Outcome, task: Task) -> float:
        """Return 1 where answer and expected text are one; a failed call is not."""
        return float(not outcome.error and outcome.answer == outcome.expected)
