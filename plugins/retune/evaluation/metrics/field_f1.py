"""Field-level F1."""

from __future__ import annotations

from collections.abc import Sequence

from retune.evaluation.metrics.base import MeanMetric, NotMeasuredError, Task
from retune.evaluation.metrics.json_fields import Fields, fields_of
from retune.evaluation.metrics.resampling import resampled_value
from retune.evaluation.schemas import NotJSONError, read_json
from retune.records import MetricValue, Outcome


class FieldF1(MeanMetric):
    """How many fields of an extraction are found and right: F1 an example, and over all fields together.

    `field_f1` is the mean of the examples' F1, `field_f1_micro` the F1 of all fields of all examples.
    """

    name = "field_f1"

    def unfit(self, task: Task) -> str:
        """Say that only an extraction has fields."""
        return "" if task.kind == "extraction" else f"a {task.kind} has no fields"

    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return the F1 of an example's fields; 0 where the answer is no JSON, None where the row is none."""
        counts = _counts(outcome, task)
        return None if counts is None else 2 * counts[0] / counts[1]

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        """Return both figures.

        Raises:
            NotMeasuredError: No expected answer is JSON.
        """
        import numpy as np

        told = [(counts, one.group) for one in outcomes if (counts := _counts(one, task)) is not None]
        if not told:
            raise NotMeasuredError("no expected answer is JSON")
        table = np.array([counts for counts, _ in told], dtype=np.float64)
        groups = [group for _, group in told]
        micro = resampled_value(table, groups, lambda sums: 2 * sums[:, 0] / sums[:, 1], confidence, seed)
        return super().measure(outcomes, task, confidence, seed) | {"field_f1_micro": micro}


def _counts(outcome: Outcome, task: Task) -> tuple[int, int] | None:
    """Return the fields that are right, and those expected and answered together; never 0 of these."""
    try:
        expected = fields_of(read_json(outcome.expected), task.normalised)
    except (NotJSONError, RecursionError):
        return None
    try:
        answered = fields_of(read_json(outcome.answer), task.normalised)
    except (NotJSONError, RecursionError):
        answered = Fields()
    return (expected & answered).total(), expected.total() + answered.total()
