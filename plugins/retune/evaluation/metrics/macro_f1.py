"""Macro F1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retune.evaluation.metrics.label_counts import LabelF1

if TYPE_CHECKING:
    from retune.evaluation.metrics.label_counts import Sums


class MacroF1(LabelF1):
    """Mean over the expected labels of each label's F1, so that a rare label counts as much as a common one.

    An answer that names no label counts against the label that was expected, as in scikit-learn's
    `f1_score(average="macro", labels=expected labels, zero_division=0)`.
    """

    name = "macro_f1"

    @staticmethod
    def weights(expected: Sums) -> Sums:
        """Return 1 for each label that is expected at all."""
        return (expected > 0).astype(expected.dtype)
