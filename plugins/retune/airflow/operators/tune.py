"""The verbs of `<pipeline>.tune`, from a spec to trained models."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from retune.airflow.configuration import AirflowConnections, AirflowFileSystems
from retune.airflow.links import DataCard, ValidationPage
from retune.airflow.missing_pools import require_pools
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.pipelines import find_pipeline
from retune.errors import BackendError, DataError
from retune.records import Recipe, Release
from retune.state import artifacts_index, releases, specs


class FreezeSpec(RetuneOperator):
    """Stores the spec as it is now; returns its digest, by which all later tasks read it."""

    def execute(self, context: Context) -> str:
        """Freeze the spec; raises SetupError where the run could never end, SpecError where it is broken."""
        from retune.evaluation.ready import check_connections, check_evaluation
        from retune.prices import load_prices

        require_pools(context["dag_run"].conf)
        spec = find_pipeline(self.settings.project, self.pipeline).require()
        # A mistake in a file that the spec names shows before anything is done.
        load_prices(self.settings)
        check_evaluation(spec, self.settings)
        check_connections(spec, AirflowConnections())
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
        on_gpu_pool: Whether it resolves those that take a slot of the GPU pool, or all others.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, on_gpu_pool: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.on_gpu_pool = on_gpu_pool

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Resolve the recipes; raises BackendError where a base model cannot be found or compared."""
        from retune.backends.recipes import resolve_recipes

        spec = self.frozen(self.spec, context)
        with self.db.read() as tx:
            champion = releases.live(tx, self.pipeline)
        recipes = resolve_recipes(
            spec,
            self.settings,
            champion.model if champion else None,
            lambda recipe: recipe.on_gpu_pool is self.on_gpu_pool,
        )
        if champion:
            require_comparable(recipes, champion)
        for recipe in recipes:
            self.log.info("%s: base model %s, %s", recipe.title, recipe.base_digest, recipe.hyperparameters)
            if recipe.hyperparameters.get("tuning") == "full":
                self.log.warning("%s: whole weights are stored, but no endpoint serves them", recipe.title)
        return [recipe.to_json() for recipe in recipes]


def require_comparable(recipes: list[Recipe], champion: Release) -> None:
    """Refuse, before anything is trained, recipes that can never be compared with the live release.

    Raises:
        BackendError: An endpoint serves adapters of one base model, and theirs is another one.
    """
    base = champion.model.base_model
    served_here = {
        recipe.base_model for recipe in recipes if recipe.base_digest.startswith(("sha256:", "hf:"))
    }
    if champion.model.kind != "hosted" and (other := sorted(served_here - {base})):
        raise BackendError(
            f"release {champion.number}, which is live, is an adapter of {base!r}, but the recipes train"
            f" {', '.join(map(repr, other))}, and one endpoint cannot serve both for a comparison",
            f"put `base_model: {base}` back, or make a new pipeline with an endpoint of its own",
        )
