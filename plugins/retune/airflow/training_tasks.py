"""The tasks of `<pipeline>.tune` that train: every recipe, and the winner's on parts of the rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import TriggerRule, chain

from retune.airflow.operators.fine_tune import FineTune
from retune.airflow.operators.learning_curve import CutRows, LearnCurve
from retune.airflow.pipelines import Pipeline
from retune.pools import GPU_POOL


def kinds(pipeline: Pipeline) -> list[str]:
    """Return the parts of task names for the kinds of recipes: those on the GPU pool, and hosted ones.

    Two tasks, as all instances of a mapped one share a pool and a queue.
    """
    recipes = pipeline.spec.recipes if pipeline.spec else ()
    found = [
        kind
        for kind, on_gpu_pool in (("", True), ("_hosted", False))
        if any(recipe.on_gpu_pool is on_gpu_pool for recipe in recipes)
    ]
    return found or [""]


def fine_tune(kind: str, recipes: Any, costs: Any, pipeline: Pipeline, spec: Any, dataset: Any) -> Any:
    """Return the task that trains the recipes of a kind.

    Args:
        kind: One of `kinds`.
        recipes: A list of Recipes.
        costs: What all recipes cost, as it was allowed.
        pipeline: Whose they are.
        spec: Digest of the frozen spec.
        dataset: A Dataset.
    """
    given = {"dataset": dataset, "costs": costs}
    return _training(f"fine_tune{kind}", "{{ title }}", kind, pipeline, spec, **given).expand(recipe=recipes)


def learning_curve(
    pipeline: Pipeline, spec: Any, dataset: Any, recipes: list[Any], choose: Any, evaluate: Any
) -> LearnCurve | None:
    """Return the last task of the learning curve; None where the file asks for none.

    It comes after the answers to the held-out set: no latency is measured beside a training, and nothing
    is paid for a candidate that was not evaluated.

    Args:
        pipeline: Whose it is.
        spec: Digest of the frozen spec.
        dataset: A Dataset.
        recipes: Lists of Recipes, one for each of `kinds`.
        choose: The task ChooseCandidate.
        evaluate: The task Evaluate.
    """
    if not (pipeline.spec and pipeline.spec.advice.learning_curve):
        return None
    given = {"pipeline": pipeline.name, "spec": spec, "dataset": dataset, "entries": choose.output}
    cuts, parts = [], []
    for kind, found in zip(kinds(pipeline), recipes, strict=True):
        cut = CutRows(task_id=f"cut{kind}_rows", recipes=found, **given)
        title = "{{ title }}, {{ task.dataset['train']['rows'] }} rows"
        train = _training(f"fine_tune{kind}_parts", title, kind, pipeline, spec).expand_kwargs(cut.output)
        chain(evaluate, cut, train)
        cuts.append(cut)
        parts.append(train)
    curve = LearnCurve(
        task_id="learning_curve",
        cuts=[one.output for one in cuts],
        models=[one.output for one in parts],
        # Without a part there is no curve, but a decision.
        trigger_rule=TriggerRule.ALL_DONE,
        retries=1,
        retry_delay=timedelta(seconds=30),
        **given,
    )
    chain(parts, curve)
    return curve


def _training(task_id: str, title: str, kind: str, pipeline: Pipeline, spec: Any, **given: Any) -> Any:
    if not kind:
        given["pool"] = GPU_POOL
        if queue := pipeline.spec.queue if pipeline.spec else "":
            given["queue"] = queue
    return FineTune.partial(
        task_id=task_id,
        pipeline=pipeline.name,
        spec=spec,
        retries=2,
        retry_delay=timedelta(seconds=30),
        map_index_template=title,
        **given,
    )
