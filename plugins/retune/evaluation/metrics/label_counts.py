"""What the figures by label are made of: how often each is expected, answered, and right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retune.evaluation.metrics.base import Task
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
