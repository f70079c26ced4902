"""Whether a spec's evaluation could run, seen before anything is trained or asked."""

from __future__ import annotations

from collections.abc import Callable

from retune.errors import DataError, Problem, SetupError, SpecError
from retune.evaluation.guard_sets import read_guard_sets
from retune.evaluation.judging.bench import account_of
from retune.evaluation.judging.pairs import read_labelled
from retune.evaluation.measuring import task_of
from retune.settings import Connections, Settings
from retune.spec import LocalRecipe, PipelineSpec


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


def check_connections(spec: PipelineSpec, connections: Connections) -> None:
    """Make sure that all who are asked after the training can be reached by name; nothing is asked yet.

    The accounts of hosted models are not looked at: their backends do that before they estimate.

    Args:
        spec: The spec.
        connections: Where addresses and credentials come from.

    Raises:
        SetupError: Names every connection that is missing or says too little.
    """
    evaluation = spec.evaluation
    looks: list[Callable[[], object]] = []
    if any(isinstance(recipe, LocalRecipe) for recipe in spec.recipes):
        looks.append(lambda: connections.endpoint(evaluation.endpoint))
    if evaluation.rag.embeddings:
        looks.append(lambda: connections.endpoint(evaluation.rag.embeddings))
    if (judge := evaluation.judge) is not None:
        looks.append(lambda: account_of(judge.connection, connections))
    problems: list[Problem] = []
    for look in looks:
        try:
            look()
        except SetupError as error:
            problems += error.problems
    if problems:
        raise SetupError(problems)
