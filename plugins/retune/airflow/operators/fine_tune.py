"""The verb of `<pipeline>.tune` that trains, whoever does it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from retune.airflow import configuration
from retune.airflow.links import JobPage, MLflowRun
from retune.airflow.operators.base import OnDataset
from retune.airflow.operators.learning_curve import with_curve
from retune.airflow.triggers.job import JobTrigger
from retune.backends.base import JobLostError, View
from retune.backends.costs import estimate_costs
from retune.backends.following import follow, too_late
from retune.backends.jobs import (
    CLEARED,
    Site,
    Underway,
    begin,
    look,
    rejoin,
    restart,
    settle,
)
from retune.backends.stopping import cancel_job
from retune.errors import BackendError, RetuneError
from retune.records import Dataset, JobStatus, Model, Recipe
from retune.spec import seconds
from retune.state import jobs
from retune.state.spending import BudgetError

_FIRST_LOOK_S, _LONGEST_LOOK_S = 60.0, 900.0
_ENDED_BY_HAND = frozenset({"restarting", "failed", "success", "skipped", "removed"})
"""States in which a task that somebody cleared (`restarting`) or marked finds itself."""


class _Training(OnDataset):
    """Base of the verbs over jobs."""

    @property
    def site(self) -> Site:
        """What the jobs need of this installation."""
        return Site(configuration.installation(), self.db, self.log.info)

    def forced_at(self, context: Context) -> datetime | None:
        """Return since when jobs count where the run's param `force` is set; None: always.

        Not since its start, which a task that is cleared later moves on.
        """
        return context["dag_run"].run_after if context["params"].get("force") else None


class EstimateCosts(_Training):
    """Says what the recipes will cost before anything is submitted; returns a list of costs.

    Where the spec asks for a learning curve, the dearest that a recipe can have is in its recipe's cost.

    Args:
        recipes: Lists of Recipes.
        kwargs: As OnDataset.
    """

    def __init__(self, *, recipes: list[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipes = recipes

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Estimate; raises BackendError where a backend cannot."""
        from retune.advice.curve_plan import curve_plan, cut

        spec, dataset = self.inputs(context)
        recipes = [Recipe.from_json(one) for some in self.recipes for one in self.read(some, context) or ()]
        if len(recipes) != len(spec.candidates):
            what = f"{len(recipes)} of the {len(spec.candidates)} recipes that this run froze have a task"
            raise AirflowFailException(f"{what}: the file was changed since -> start a new run")
        forced_at = self.forced_at(context)
        costs = estimate_costs(recipes, dataset, self.site, forced_at)
        if sizes := curve_plan(spec.advice, dataset.train.rows)[:-1]:
            parts = cut(dataset, sizes, self.artifacts)
            on_parts = [estimate_costs(recipes, part.dataset, self.site, forced_at) for part in parts]
            costs = with_curve(costs, on_parts)
        for cost in costs:
            price = "price not known" if cost["usd"] is None else f"{cost['usd']:.2f} USD"
            self.log.info("%s: %s (%s)", cost["title"], price, cost["basis"])
        return costs


class FineTune(_Training):
    """Trains one recipe, or adopts the job that did or does; returns a Model.

    Where the job runs elsewhere, the task waits in the triggerer and takes no worker's slot.

    Args:
        recipe: A Recipe.
        costs: What EstimateCosts returned, which was allowed; None: there is no bound but the month's.
        kwargs: As OnDataset.
    """

    operator_extra_links = (MLflowRun(), JobPage())
    job_page: str = ""
    """Where a person can look at the job."""

    def __init__(self, *, recipe: Any, costs: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.costs = costs
        self._running: tuple[Recipe, Dataset, Context] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job to its end; raises BackendError where it fails."""
        recipe, dataset = self._given(context)
        self._running = recipe, dataset, context
        spec = self.frozen(self.spec, context)
        try:
            found = begin(
                recipe,
                dataset,
                self.site,
                forced_at=self.forced_at(context),
                budget=spec.budget,
                most_usd=self._allowed(recipe, context),
            )
        except (BackendError, BudgetError) as error:
            raise _final(error) from error
        timeout_s = seconds(spec.training.timeout)
        if isinstance(found, Model) or not found.backend.waits_here:
            return self._end_or_wait(found, context, time.time() + timeout_s, _FIRST_LOOK_S)
        self._show(found.run.url, "", context)
        view = follow(found.order, found.job, found.backend, found.run, self.log.info, timeout_s)
        if view.status is JobStatus.CANCELLED:  # by a person: a retry would start it again
            return self._settled(found, view)
        return settle(found, view, self.site).to_json()

    def waited(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the triggerer: take the model, show how it goes and wait again, or give up."""
        recipe, dataset = self._given(context)
        if event["error"]:
            kind = AirflowException if event.get("may_pass") else AirflowFailException
            raise kind(event["error"])
        try:
            found = rejoin(event["key"], recipe, dataset, self.site)
        except BackendError as error:
            raise _final(error) from error
        self._running = recipe, dataset, context
        return self._end_or_wait(found, context, event["deadline"], event["look_s"], event["losses"])

    def _end_or_wait(
        self, found: Model | Underway, context: Context, deadline: float, look_s: float, losses: int = 0
    ) -> dict[str, Any]:
        if isinstance(found, Model):
            self._show(found.tracking_url, "", context)
            return found.to_json()
        self._show(found.run.url, found.job.url, context)
        try:
            view = look(found, self.site)
        except JobLostError as error:
            view, losses = restart(found, error, losses, self.site), losses + 1
        if view.ended:
            if view.status is JobStatus.CANCELLED and self._was_cleared(found):
                what = f"{found.order.recipe.title}: job {found.job.provider_id} was cancelled by a clear"
                raise BackendError(what, "the next try makes a new one")
            return self._settled(found, view)
        if time.time() >= deadline:
            timeout_s = seconds(self.frozen(self.spec, context).training.timeout)
            raise AirflowFailException(str(too_late(found.order, found.job, timeout_s)))
        self._running = None
        spec = self.frozen(self.spec, context)
        self.defer(
            trigger=JobTrigger(
                found.job.to_json(),
                min(time.time() + look_s, deadline),
                spec.training.when_cleared == "cancel",
                # Looks become rarer: short jobs show their curves soon, long ones cost few workers' seconds.
                {
                    "key": found.order.key,
                    "deadline": deadline,
                    "look_s": min(2 * look_s, _LONGEST_LOOK_S),
                    "losses": losses,
                },
            ),
            method_name="waited",
        )

    def _allowed(self, recipe: Recipe, context: Context) -> float | None:
        """Return what the recipe may cost; None where nobody knew, and a person let it go."""
        if self.costs is None:
            return None
        costs = self.read(self.costs, context) or ()
        return next((cost["usd"] for cost in costs if cost["title"] == recipe.title), 0.0)

    def _settled(self, found: Underway, view: View) -> dict[str, Any]:
        try:
            return settle(found, view, self.site).to_json()
        except BackendError as error:
            raise _final(error) from error

    def _was_cleared(self, found: Underway) -> bool:
        """Say whether Retune itself cancelled the job.

        Airflow starts the next try at once, the triggerer acts upon a clear seconds later: until then the
        next try may have adopted the job.
        """
        with self.db.read() as tx:
            row = jobs.get(tx, found.order.key)
        return row is not None and row.error == CLEARED

    def _given(self, context: Context) -> tuple[Recipe, Dataset]:
        recipe = Recipe.from_json(self.read(self.recipe, context))
        # Read by the task's map_index_template.
        context["title"] = recipe.title  # type: ignore[typeddict-unknown-key]
        return recipe, Dataset.from_json(self.read(self.dataset, context))

    def _show(self, mlflow_page: str, job_page: str, context: Context) -> None:
        """Keep the pages' addresses, also while the task waits: Airflow writes them at its end only."""
        self.page, self.job_page = mlflow_page, job_page
        for link in self.operator_extra_links:
            address = link.get_link(self, ti_key=None)
            if address:
                context["ti"].xcom_push(key=link.xcom_key, value=address)

    def on_kill(self) -> None:
        """Cancel the job if someone ended the task; leave it to the next try if only the worker stops.

        Airflow sends the same signal for both, and also to a process that it took for dead, whose next try
        waits already. A job that goes on is adopted by its key, so it is never lost nor run twice.
        """
        if self._running is None:
            return
        recipe, dataset, context = self._running
        if _state(context) not in _ENDED_BY_HAND:
            raise AirflowException("the worker stops; the training goes on and the next try adopts it")
        if self.frozen(self.spec, context).training.when_cleared == "keep":
            self.log.info("the task was ended from outside: its job goes on, and the next run adopts it")
            return
        cancelled = cancel_job(recipe, dataset, self.site, self.forced_at(context))
        self.log.info("the task was ended from outside: %s", "job cancelled" if cancelled else "no job ran")


def _final(error: RetuneError) -> Exception:
    """Return the error as one that Airflow does not retry, unless asking again may help."""
    again = isinstance(error, BackendError) and error.may_pass
    return error if again else AirflowFailException(str(error))


def _state(context: Context) -> str:
    """Return the state that Airflow has for this very task instance; `running` where it cannot say."""
    ti = context["ti"]
    states = ti.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return str(next(iter(states.get(ti.run_id, {}).values()), "running"))
