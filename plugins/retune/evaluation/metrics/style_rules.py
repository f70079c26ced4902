"""Rules of form."""

from __future__ import annotations

from retune.evaluation.metrics.base import MeanMetric, Task
from retune.records import Outcome


class StyleRules(MeanMetric):
    """Share of answers that keep all of `evaluation.rules`."""

    name = "rules"

    def unfit(self, task: Task) -> str:
        """Say that there are no rules."""
        return "" if task.rules else "evaluation.rules has none"

    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return 1 where the answer keeps every rule; a failed call does not."""
        if task.rules is None:
            return None
        return float(not outcome.error and not task.rules.broken(outcome.answer))
