"""Chooses the one candidate that meets the held-out set."""

from __future__ import annotations

from collections.abc import Sequence

from retune.errors import DataError
from retune.records import EvalReport
from retune.spec import PipelineSpec


def choose(reports: Sequence[EvalReport], spec: PipelineSpec) -> int:
    """Return the index of the best report on the validation set; of equals, the first.

    Raises:
        DataError: A report is of another set than validation.
    """
    if any(report.set_name != "validation" for report in reports):
        raise DataError("recipes compete on the validation set only", "evaluate them on it")
    values = [report.metrics[spec.gate.metric].value for report in reports]
    return values.index(max(values))
