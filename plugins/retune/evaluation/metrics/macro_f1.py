"""Macro F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retune.evaluation.metrics.base import Task, only_labels
from retune.evaluation.metrics.label_counts import f1_by_label, label_counts
from retune.records import MetricValue, Outcome

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from retune.evaluation.metrics.label_counts import Sums


class MacroF1:
    """Mean over the expected labels of each label's F1, so that a rare label counts as much as a common one.

    An answer that names no label counts against the label that was expected, as in scikit-learn's
    `f1_score(average="macro", labels=expected labels, zero_division=0)`.
    """

    name = "macro_f1"
    higher_is_better = True

    def unfit(self, task: Task) -> str:
        """Say that only a classification has labels."""
        return only_labels(task)

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        """Return the mean with its bootstrap interval."""
        return {self.name: label_counts(outcomes, task).value(_mean, confidence, seed)}


def _mean(hits: Sums, expected: Sums, answered: Sums) -> npt.NDArray[np.float64]:
    present = expected > 0
    summed: npt.NDArray[np.float64] = (f1_by_label(hits, expected, answered) * present).sum(axis=1)
    mean: npt.NDArray[np.float64] = summed / present.sum(axis=1)
    return mean
