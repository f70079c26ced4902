"""What the figures by label are made of: how often each is expected, answered, and right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retune.evaluation.metrics.base import Task, only_labels
from retune.evaluation.metrics.resampling import resampled_value
from retune.records import MetricValue, Outcome

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Sums = npt.NDArray[np.float64]
    """One row a resample, one column a label."""


@dataclass(frozen=True)
class LabelCounts:
    """Outcomes by label: `table` has for each example which label it hits, expects and answers."""

    names: tuple[str, ...]
    """The labels that are expected, sorted."""
    table: Any
    """A sparse array: columns of hits, then of expected, then of answered labels."""
    groups: tuple[str, ...]

    def value(
        self, figure: Callable[[Sums, Sums, Sums], npt.NDArray[np.float64]], confidence: float, seed: int
    ) -> MetricValue:
        """Return a figure of hits, expected and answered labels with its bootstrap interval."""
        size = len(self.names)

        def of(sums: Sums) -> npt.NDArray[np.float64]:
            return figure(sums[:, :size], sums[:, size : 2 * size], sums[:, 2 * size :])

        return resampled_value(self.table, self.groups, of, confidence, seed)


def label_counts(outcomes: Sequence[Outcome], task: Task) -> LabelCounts:
    """Count outcomes by the labels that are expected; an answer that names another counts for none."""
    import numpy as np
    from scipy.sparse import csr_array

    expected = [task.label_of(outcome.expected) or outcome.expected for outcome in outcomes]
    predicted = ["" if outcome.error else outcome.predicted for outcome in outcomes]
    names = tuple(sorted(set(expected)))
    index = {name: number for number, name in enumerate(names)}
    places = []
    for row, (wanted, said) in enumerate(zip(expected, predicted, strict=True)):
        places.append((row, len(names) + index[wanted]))
        if said in index:
            places.append((row, 2 * len(names) + index[said]))
        if said == wanted:
            places.append((row, index[wanted]))
    rows, columns = np.array(places, dtype=np.int64).T
    shape = (len(outcomes), 3 * len(names))
    table = csr_array((np.ones(len(places)), (rows, columns)), shape=shape)
    return LabelCounts(names, table, tuple(outcome.group for outcome in outcomes))


def f1_by_label(hits: Sums, expected: Sums, answered: Sums) -> Sums:
    """Return each label's F1; 0 where it is neither expected nor answered."""
    import numpy as np

    both = expected + answered
    return np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)


class LabelF1(ABC):
    """A metric that is the mean of the labels' F1; such metrics differ in how much each label counts."""

    name: str
    higher_is_better = True

    @staticmethod
    @abstractmethod
    def weights(expected: Sums) -> Sums:
        """Return what each label counts for, one row a resample.

        Args:
            expected: How often each label is expected.
        """

    def unfit(self, task: Task) -> str:
        """Say that only a classification has labels."""
        return only_labels(task)

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        """Return the mean with its bootstrap interval."""

        def mean(hits: Sums, expected: Sums, answered: Sums) -> npt.NDArray[np.float64]:
            weights = self.weights(expected)
            summed: npt.NDArray[np.float64] = (f1_by_label(hits, expected, answered) * weights).sum(axis=1)
            found: npt.NDArray[np.float64] = summed / weights.sum(axis=1)
            return found

        return {self.name: label_counts(outcomes, task).value(mean, confidence, seed)}
