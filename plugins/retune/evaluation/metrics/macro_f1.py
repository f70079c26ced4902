"""Macro F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retune.records import MetricValue, Outcome
from retune.stats.intervals import bootstrap

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def macro_f1(outcomes: Sequence[Outcome], confidence: float, seed: int) -> MetricValue:
    """Return the mean over the expected labels of each label's F1, with a bootstrap interval.

    An answer that names no label counts against the label that was expected, as in scikit-learn's
    `f1_score(average="macro", labels=expected labels, zero_division=0)`.
    """
    import numpy as np

    names = sorted({outcome.expected for outcome in outcomes})
    index = {name: number for number, name in enumerate(names)}
    other = len(names)
    expected = np.array([index[outcome.expected] for outcome in outcomes], dtype=np.int64)
    predicted = np.array([index.get(outcome.predicted, other) for outcome in outcomes], dtype=np.int64)

    def figure(rows: npt.NDArray[np.int64]) -> float:
        return _macro_f1(expected[rows], predicted[rows], other)

    low, high = bootstrap(figure, len(outcomes), confidence, seed)
    value = figure(np.arange(len(outcomes)))
    return MetricValue(value=value, low=low, high=high, n=len(outcomes))


def _macro_f1(expected: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], labels: int) -> float:
    import numpy as np

    support = np.bincount(expected, minlength=labels)[:labels]
    answered = np.bincount(predicted, minlength=labels)[:labels]
    hits = np.bincount(expected[expected == predicted], minlength=labels)[:labels]
    present = support > 0
    return float(np.mean(2 * hits[present] / (support + answered)[present]))
