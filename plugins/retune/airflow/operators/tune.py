"""The verbs of `<pipeline>.tune`, from a spec to trained models."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException

from retune.airflow.configuration import AirflowFileSystems
from retune.airflow.links import DataCard, MLflowRun, ValidationPage
from retune.airflow.missing_pools import require_pools
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.pipelines import find_pipeline
from retune.errors import BackendError, DataError
from retune.records import Dataset, Recipe, Release
from retune.state import artifacts_index, releases, specs


class FreezeSpec(RetuneOperator):
    """Stores the spec as it is now; returns its digest, by which all later tasks read it."""

    def execute(self, context: Context) -> str:
        """Freeze the spec; raises SetupError where the run could never end, SpecError where it is broken."""
        require_pools(context["dag_run"].conf)
        spec = find_pipeline(self.settings.project, self.pipeline).require()
        self.db.check()
        with self.db.write() as tx:
            digest = specs.freeze(tx, spec, now())
        self.log.info("the run works by spec %s: %d recipes", digest, len(spec.recipes))
        return digest


class PrepareData(RetuneOperator):
    """Reads, validates, cleans and splits the rows; returns a Dataset.

    Args:
        spec: Digest of the frozen spec.
        kwargs: As RetuneOperator.
    """

    operator_extra_links = (ValidationPage(), DataCard())
    card: str = ""
    """Address of the data card."""

    def __init__(self, *, spec: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec

    def execute(self, context: Context) -> dict[str, Any]:
        """Prepare the data; raises DataError where it is not good enough to train on.

        StateError where another run held out more rows meanwhile: a retry knows of them.
        """
        from retune.data.prepare import prepare

        begun = now()
        try:
            dataset = prepare(
                self.frozen(self.spec, context),
                settings=self.settings,
                db=self.db,
                artifacts=self.artifacts,
                now=begun,
                report=self.log.info,
                files=AirflowFileSystems(),
            )
        except DataError:
            with self.db.read() as tx:
                page = artifacts_index.newest(tx, self.pipeline, "validation", since=begun)
            self.page = self.page_of(page) if page else ""
            raise
        self.page = self.page_of(dataset.validation_page)
        self.card = self.page_of(dataset.card) if dataset.card else ""
        return dataset.to_json()


class ResolveRecipes(RetuneOperator):
    """Turns the spec's recipes into what exactly will be trained; returns a list of Recipes.

    Args:
        spec: Digest of the frozen spec.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Resolve the recipes; raises BackendError where a base model cannot be found or compared."""
        from retune.backends.recipes import resolve_recipes

        recipes = resolve_recipes(self.frozen(self.spec, context), self.settings)
        with self.db.read() as tx:
            champion = releases.live(tx, self.pipeline)
        if champion:
            require_comparable(recipes, champion)
        for recipe in recipes:
            self.log.info("%s: base model %s, %s", recipe.title, recipe.base_digest, recipe.hyperparameters)
        return [recipe.to_json() for recipe in recipes]


def require_comparable(recipes: list[Recipe], champion: Release) -> None:
    """Refuse, before anything is trained, recipes that can never be compared with the live release.

    Raises:
        BackendError: An endpoint serves adapters of one base model, and theirs is another one.
    """
    base = champion.model.base_model
    if other := sorted({recipe.base_model for recipe in recipes} - {base}):
        raise BackendError(
            f"release {champion.number}, which is live, is an adapter of {base!r}, but the recipes train"
            f" {', '.join(map(repr, other))}, and one endpoint cannot serve both for a comparison",
            f"put `base_model: {base}` back, or make a new pipeline with an endpoint of its own",
        )


class FineTune(RetuneOperator):
    """Trains one recipe, or adopts the job that did or does; returns a Model.

    Args:
        recipe: A Recipe.
        dataset: A Dataset.
        kwargs: As RetuneOperator.
    """

    operator_extra_links = (MLflowRun(),)

    def __init__(self, *, recipe: Any, dataset: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.dataset = dataset
        self._running: tuple[Recipe, Dataset, Context] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job to its end; raises BackendError where it fails."""
        from retune.backends.jobs import run_job

        recipe = Recipe.from_json(self.read(self.recipe, context))
        dataset = Dataset.from_json(self.read(self.dataset, context))
        # Read by the task's map_index_template.
        context["title"] = recipe.title  # type: ignore[typeddict-unknown-key]
        self._running = recipe, dataset, context
        model = run_job(
            recipe,
            dataset,
            db=self.db,
            artifacts=self.artifacts,
            settings=self.settings,
            now=now(),
            report=self.log.info,
            started=self._show,
        )
        self._show(model.tracking_url)
        return model.to_json()

    def _show(self, url: str) -> None:
        self.page = url

    def on_kill(self) -> None:
        """Cancel the job if someone ended the task; leave it to the next try if only the worker stops.

        Airflow sends the same signal for both, but only in the first case is the task's state not
        `running` any more. A job that goes on is adopted by its key, so it is never lost nor run twice.
        """
        if self._running is None:
            return
        recipe, dataset, context = self._running
        if _state(context) == "running":
            raise AirflowException("the worker stops; the training goes on and the next try adopts it")
        from retune.backends.jobs import cancel_job

        cancelled = cancel_job(
            recipe, dataset, db=self.db, artifacts=self.artifacts, settings=self.settings, now=now()
        )
        self.log.info("the task was ended from outside: %s", "job cancelled" if cancelled else "no job ran")


def _state(context: Context) -> str:
    """Return the state that Airflow has for this very task instance; `running` where it cannot say."""
    ti = context["ti"]
    states = ti.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return str(next(iter(states.get(ti.run_id, {}).values()), "running"))
