"""Precision and recall of each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retune.evaluation.metrics.base import Task, mean_of, only_labels
from retune.records import MetricValue, Outcome


class PerLabel:
    """How far each label's answers can be trusted, and how many of its examples are found.

    `precision[billing]` is the share of right ones among the answers `billing`; `recall[billing]` the
    share of right ones among the examples that are. A label that was never answered has no precision,
    one that was never expected no recall: such figures are absent.
    """

    name = "per_label"
    higher_is_better = True

    def unfit(self, task: Task) -> str:
        """Say that only a classification has labels."""
        return only_labels(task)

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> Mapping[str, MetricValue]:
        """Return each figure with its interval; its n is what the share is of."""
        answered: dict[str, list[Outcome]] = {}
        expected: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            expected.setdefault(task.label_of(outcome.expected) or outcome.expected, []).append(outcome)
            if outcome.predicted and not outcome.error:
                answered.setdefault(outcome.predicted, []).append(outcome)
        labels = sorted({*task.labels, *expected})
        shares = [("precision", answered), ("recall", expected)]
        return {
            f"{share}[{label}]": mean_of(
                [float(one.correct) for one in found[label]],
                [one.group for one in found[label]],
                confidence,
                seed,
            )
            for label in labels
            for share, found in shares
            if label in found
        }
