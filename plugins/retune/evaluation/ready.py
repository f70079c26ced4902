"""Whether a spec's evaluation could run, seen before anything is trained or asked."""

from __future__ import annotations

from retune.errors import DataError, Problem, SpecError
from retune.evaluation.guard_sets import read_guard_sets
from retune.evaluation.measuring import task_of
from retune.settings import Settings
from retune.spec import PipelineSpec


def check_evaluation(spec: PipelineSpec, settings: Settings) -> None:
    """Make sure that the metrics, the schema, the rules and the guards' sets can be used.

    Args:
        spec: The spec.
        settings: Against whose project its paths resolve.

    Raises:
        SpecError: Names all that cannot.
    """
    problems: list[Problem] = []
    for look in (lambda: task_of(spec, spec.task.labels, settings), lambda: read_guard_sets(spec, settings)):
        try:
            look()
        except (SpecError, DataError) as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
