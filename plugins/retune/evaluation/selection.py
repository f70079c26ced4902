"""Chooses the one candidate that meets the held-out set."""

from __future__ import annotations

from collections.abc import Sequence

from retune.errors import DataError, EndpointError
from retune.records import EvalReport
from retune.spec import PipelineSpec


def choose(reports: Sequence[EvalReport], spec: PipelineSpec) -> int:
    """Return the index of the best report on the validation set; of equals, the first.

    Raises:
        DataError: A report is of another set than validation.
        EndpointError: More calls failed than the gate allows.
    """
    if any(report.set_name != "validation" for report in reports):
        raise DataError("recipes compete on the validation set only", "evaluate them on it")
    unsure = [report for report in reports if report.failed > spec.gate.max_failed * report.n]
    if unsure:
        counts = ", ".join(f"{report.failed} of {report.n}" for report in unsure)
        raise EndpointError(
            f"{counts} calls failed on the validation set: the recipes cannot be compared",
            "see that the endpoint answers, and clear the task",
        )
    values = [report.metrics[spec.gate.metric].value for report in reports]
    return values.index(max(values))
