"""Chooses the one candidate that meets the held-out set."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from retune.errors import DataError, EndpointError, Problem
from retune.records import EvalReport
from retune.spec import PipelineSpec


def choose(reports: Sequence[EvalReport], spec: PipelineSpec) -> int:
    """Return the index of the best report on the validation set by `gate.metric`; of equals, the first.

    The winner's own score here is no estimate of how good it is. The best of many is in part the luckiest:
    twenty equal recipes on 200 examples differ by several points, and the highest of them is chosen (the
    winner's curse). So nothing is claimed of this figure, and the winner is judged on the held-out set,
    which no recipe has seen and by which none was chosen.

    Args:
        reports: One a recipe, in the spec's order.
        spec: The frozen spec.

    Raises:
        DataError: There is no report, one is of another set than the others or than validation, or one has
            no value of the metric from 0 to 1.
        EndpointError: More calls failed than the gate allows.
    """
    if not reports:
        raise DataError("no recipe was evaluated on the validation set", "see the evaluate tasks")
    if any(report.set_name != "validation" for report in reports):
        raise DataError("recipes compete on the validation set only", "evaluate them on it")
    if len({report.set_digest for report in reports}) > 1:
        raise DataError("the recipes were asked different validation sets", "evaluate all of them again")
    unsure = [report for report in reports if report.failed > spec.gate.max_failed * report.n]
    if unsure:
        counts = ", ".join(f"{report.failed} of {report.n}" for report in unsure)
        raise EndpointError(
            f"{counts} calls failed on the validation set: the recipes cannot be compared",
            "see that the endpoint answers, and clear the task",
        )
    worth = _worth(reports, spec.gate.metric)
    return worth.index(max(worth))


def _worth(reports: Sequence[EvalReport], metric: str) -> list[float]:
    """Return each report's value, turned so that more is better."""
    worth, problems = [], []
    for report in reports:
        found = report.metrics.get(metric)
        if found is None or not (isfinite(found.value) and 0 <= found.value <= 1):
            seen = f"no {metric}" if found is None else f"{found.value} of {metric}, none from 0 to 1,"
            problems.append(
                Problem(
                    f"{report.contender.model_digest} has {seen} on the validation set",
                    "evaluate it again, or take another gate.metric",
                )
            )
        else:
            worth.append(found.value if found.higher_is_better else -found.value)
    if problems:
        raise DataError(problems)
    if len({report.metrics[metric].higher_is_better for report in reports}) > 1:
        raise DataError(f"the reports disagree whether a higher {metric} is better", "evaluate all again")
    return worth
