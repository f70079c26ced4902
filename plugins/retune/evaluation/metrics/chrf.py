"""The character F-score chrF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retune.evaluation.metrics.base import MeanMetric, Task, only_texts
from retune.evaluation.metrics.resampling import resampled_value
from retune.records import MetricValue, Outcome

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ORDERS = 6
# Of recall against precision.
_WEIGHT = 2.0**2


class Chrf(MeanMetric):
    """How many character n-grams answer and expected text share, 0 to 1: sacrebleu's chrF2 by the hundred.

    `chrf` is the mean of the examples' chrF, `chrf_corpus` that of the whole set, which is what papers
    report. Signature `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`. Source: Popovic 2015, "chrF:
    character n-gram F-score for automatic MT evaluation", WMT.
    """

    name = "chrf"

    def unfit(self, task: Task) -> str:
        """Say that a label is no text."""
        return only_texts(task)

    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return an example's chrF; None where the expected text is empty."""
        import numpy as np

        if not outcome.expected.strip():
            return None
        return float(_scores(np.array([_counts(outcome)], dtype=np.float64))[0])

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        """Return both figures, with bootstrap intervals.

        Raises:
            NotMeasuredError: All expected texts are empty.
        """
        import numpy as np

        mean = super().measure(outcomes, task, confidence, seed)
        told = [outcome for outcome in outcomes if outcome.expected.strip()]
        table = np.array([_counts(outcome) for outcome in told], dtype=np.float64)
        groups = [outcome.group for outcome in told]
        return mean | {"chrf_corpus": resampled_value(table, groups, _scores, confidence, seed)}


def _counts(outcome: Outcome) -> list[int]:
    """Return for each order the n-grams of the answer, of the expected text, and those that they share."""
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    found: list[int] = []
    answered = extract_all_char_ngrams(outcome.answer, _ORDERS)
    expected = extract_all_char_ngrams(outcome.expected, _ORDERS)
    for mine, theirs in zip(answered, expected, strict=True):
        # As sacrebleu does: an order that the expected text is too short for counts nowhere.
        found += [mine.total() if theirs else 0, theirs.total(), (mine & theirs).total()]
    return found


def _scores(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return chrF2 of counts, one a row; orders that either side is too short for are left out."""
    import numpy as np

    answered, expected, shared = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    told = (answered > 0) & (expected > 0)
    orders = np.maximum(told.sum(axis=1), 1)
    none = np.zeros_like(shared)
    precision = np.divide(shared, answered, out=none.copy(), where=told).sum(axis=1) / orders
    recall = np.divide(shared, expected, out=none, where=told).sum(axis=1) / orders
    both = _WEIGHT * precision + recall
    found: npt.NDArray[np.float64] = np.zeros_like(both)
    np.divide((1 + _WEIGHT) * precision * recall, both, out=found, where=both > 0)
    return found
