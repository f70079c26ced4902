"""Weighted F1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retune.evaluation.metrics.label_counts import LabelF1

if TYPE_CHECKING:
    from retune.evaluation.metrics.label_counts import Sums


class WeightedF1(LabelF1):
    """Mean of each label's F1, weighted by how often the label is expected.

    As scikit-learn's `f1_score(average="weighted", labels=expected labels, zero_division=0)`.
    """

    name = "weighted_f1"

    @staticmethod
    def weights(expected: Sums) -> Sums:
        """Return how often each label is expected."""
        return expected
