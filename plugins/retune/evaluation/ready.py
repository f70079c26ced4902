"""Whether a spec's evaluation could run, seen before anything is trained or asked."""

from __future__ import annotations

from collections.abc import Callable

from retune.errors import DataError, Problem, SpecError
from retune.evaluation.guard_sets import read_guard_sets
from retune.evaluation.judging.pairs import read_labelled
from retune.evaluation.measuring import task_of
from retune.settings import Settings
from retune.spec import PipelineSpec


def check_evaluation(spec: PipelineSpec, settings: Settings) -> None:
    """Make sure that the metrics, the schema, the rules, the guards' sets and the judge's can be used.

    Args:
        spec: The spec.
        settings: Against whose project its paths resolve.

    Raises:
        SpecError: Names all that cannot.
    """
    problems: list[Problem] = []
    looks: list[Callable[[], object]] = [
        lambda: task_of(spec, spec.task.labels, settings),
        lambda: read_guard_sets(spec, settings),
    ]
    if (judge := spec.evaluation.judge) is not None:
        looks.append(lambda: read_labelled(settings.resolve(judge.labelled)))
    for look in looks:
        try:
            look()
        except (SpecError, DataError) as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
