"""A job runs exactly once: intent, orphan, submit, handle, follow, fetch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from retune.backends.attempts import current
from retune.backends.base import (
    ENDED,
    Backend,
    Installation,
    JobGoneError,
    JobLostError,
    Order,
    View,
    load_backend,
)
from retune.backends.cancelling import close, outlived
from retune.backends.following import RESTARTS, follow, lost_too_often, model_of, show, vanished
from retune.backends.patience import patiently
from retune.backends.posting import cancel_twins, place_order
from retune.errors import BackendError
from retune.records import Dataset, Job, JobStatus, Model, Recipe
from retune.spec.budget import Budget, dollars, over
from retune.state import jobs, retrains, spending
from retune.state.database import Database
from retune.stats.training_curves import headline
from retune.tracking import TrackedRun, Tracking

CLEARED = "its task was cleared or marked"
"""Why a job was cancelled that the next try shall make anew."""


def _utc() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Site:
    """What running a job needs of the house."""

    installation: Installation
    db: Database
    report: Callable[[str], None] = print
    """Takes progress lines."""
    clock: Callable[[], datetime] = _utc


@dataclass(frozen=True)
class Underway:
    """A job that was placed and has not ended as far as the state knows."""

    order: Order
    job: Job
    backend: Backend
    run: TrackedRun


def begin(
    recipe: Recipe,
    dataset: Dataset,
    site: Site,
    *,
    forced_at: datetime | None = None,
    budget: Budget | None = None,
    most_usd: float | None = None,
) -> Model | Underway:
    """Place a recipe's job on a dataset, adopt the one that runs, or return the model that it made before.

    One that failed by its own error or was cancelled is a new attempt, once a call: it is the caller's
    retries that repeat it.

    Args:
        recipe: What to train, resolved.
        dataset: What to train it on.
        site: This installation.
        forced_at: Train anew where the job ended before this time; None: reuse it.
        budget: The spec's; None: nothing is refused for its price.
        most_usd: What the job may cost, as it was estimated and allowed; None: whatever it costs.

    Raises:
        BackendError: The job is refused, or failed too often.
        BudgetError: The month's budget does not hold it, or it costs more than was allowed.
        StateError: The state cannot be read or written; nothing was submitted then.
    """
    _refuse_forgotten(dataset, site.db)
    backend = load_backend(recipe.backend, site.installation, recipe.place)
    artifacts = site.installation.artifacts
    order, row = current(recipe, dataset, backend, site.db, artifacts, site.report, forced_at)
    if row is not None and row.model is not None:
        site.report(f"{recipe.title}: the same job made {row.model.digest} before; reused")
        return _under(recipe, row.model)
    if row is None:
        patiently(lambda: backend.validate(order), site.report)
        if outlived(order, backend, site.installation, site.db, site.clock, site.report, forced_at):
            return begin(recipe, dataset, site, forced_at=forced_at, budget=budget, most_usd=most_usd)
    usd = backend.estimate(order).usd if row is None or row.job is None else None

    with site.db.read() as tx:
        allowed = spending.get(tx, order.key) is not None  # when it was set aside

    def reserve(tx: Connection) -> None:
        if most_usd is not None and not allowed:
            _require_allowed(recipe, usd, most_usd)
        spending.reserve(tx, order.key, dataset.pipeline, usd, site.clock(), budget)

    job = place_order(order, backend, site.db, site.clock, site.report, reserve)
    if job.place != recipe.place:  # made by another connection of the same account, or on another host
        backend = load_backend(job.backend, site.installation, job.place)
    return Underway(order, job, backend, _tracked(order, site))


def rejoin(key: str, recipe: Recipe, dataset: Dataset, site: Site) -> Model | Underway:
    """Return the job of a key again, as `begin` placed it, in another process; or the model that it made.

    Raises:
        BackendError: It has failed or was cancelled meanwhile.
    """
    with site.db.read() as tx:
        row = jobs.get(tx, key)
    if row is None or row.job is None:
        raise BackendError(f"{recipe.title}: job {key[:12]} has no handle", "clear the task")
    if row.model is not None:
        return _under(recipe, row.model)
    if row.status in ENDED:
        error = BackendError(
            f"{recipe.title} {row.status}: {row.error}", f"then run again; see {row.job.url}"
        )
        error.may_pass = row.status is JobStatus.CANCELLED and row.error == CLEARED
        raise error
    backend = load_backend(recipe.backend, site.installation, row.job.place)
    order = Order(key, row.attempt, recipe, dataset)
    return Underway(order, row.job, backend, _tracked(order, site))


def look(underway: Underway, site: Site) -> View:
    """Show how a job goes that is waited for elsewhere, cancel a twin that came late, return the view.

    Raises:
        JobLostError: Its trainer died; see `restart`.
        BackendError: It cannot be seen.
    """
    order, job, backend = underway.order, underway.job, underway.backend
    cancel_twins(order, job, backend, site.report)
    try:
        view = patiently(lambda: backend.poll(job), site.report, backend.settles_within_s)
    except JobGoneError:
        return vanished(job)
    show(order, view, patiently(lambda: backend.curves(job), site.report), underway.run, site.report)
    return view


def restart(underway: Underway, error: JobLostError, losses: int, site: Site) -> View:
    """Start a job again whose trainer died.

    Args:
        underway: The job.
        error: How it died.
        losses: How often it died before.
        site: This installation.

    Raises:
        BackendError: It dies each time.
    """
    if losses >= RESTARTS:
        underway.run.finish(JobStatus.FAILED, None)
        raise lost_too_often(underway.order, underway.job, error, losses + 1) from error
    site.report(f"{underway.order.recipe.title}: {error}; starting it again")
    patiently(lambda: underway.backend.submit(underway.order, lambda: None), site.report)
    return View(JobStatus.RUNNING)


def settle(underway: Underway, view: View, site: Site) -> Model:
    """Store how a job ended, and return its model.

    Args:
        underway: The job.
        view: Its end.
        site: This installation.

    Raises:
        BackendError: It failed, was cancelled, or its model cannot be fetched.
    """
    order, job, backend = underway.order, underway.job, underway.backend
    cancel_twins(order, job, backend, site.report)
    model = None
    if view.status is JobStatus.SUCCEEDED:
        model = model_of(order, job, backend, underway.run, view, site.report)
    underway.run.finish(view.status, model)
    with site.db.write() as tx:
        known = jobs.get(tx, order.key)
        # Whoever waited for it too may have been quicker; a model made after a cancel is one all the same.
        if known is None or known.status not in ENDED or (model and known.model is None):
            close(tx, order.key, view, model, site.clock())
    if model is None:
        raise BackendError(
            f"{order.recipe.title} {view.status}: {view.error}", f"then run again; see {job.url}"
        )
    site.report(f"{order.recipe.title}: {model.digest} in {model.seconds:.0f} s; {headline(model.curves)}")
    return model


def run_job(
    recipe: Recipe,
    dataset: Dataset,
    site: Site,
    *,
    started: Callable[[str], None] = lambda _: None,
    forced_at: datetime | None = None,
    timeout_s: float = float("inf"),
) -> Model:
    """Train a recipe on a dataset, or return the model that the same job made before; blocks.

    A job that runs already is adopted, and one whose trainer was killed goes on from its last checkpoint.

    Args:
        recipe: What to train, resolved.
        dataset: What to train it on.
        site: This installation.
        started: Takes the address of the training's page in MLflow, once it is there.
        forced_at: As `begin` takes it.
        timeout_s: How long to wait.

    Returns:
        The model, under this recipe's spec.

    Raises:
        BackendError: The job is refused, failed, or was cancelled.
        StateError: The state cannot be read or written; nothing was submitted then.
    """
    found = begin(recipe, dataset, site, forced_at=forced_at)
    if isinstance(found, Model):
        return found
    started(found.run.url)
    view = follow(found.order, found.job, found.backend, found.run, site.report, timeout_s)
    return settle(found, view, site)


def _require_allowed(recipe: Recipe, usd: float | None, most_usd: float) -> None:
    """Refuse a job that costs more by now than the run was allowed: prices change, and so does who trains."""
    if usd is not None and not over(usd, most_usd):
        return
    price = "nobody knows what" if usd is None else f"{dollars(usd)} is what"
    raise spending.BudgetError(
        f"{price} {recipe.title} costs by now, and {dollars(most_usd)} was allowed",
        "clear the task `estimate_costs` with what follows it",
    )


def _refuse_forgotten(dataset: Dataset, db: Database) -> None:
    """Neither train on a forgotten person's rows nor reuse a model that was."""
    with db.read() as tx:
        if retrains.is_tainted(tx, dataset.digest, dataset.pipeline):
            raise BackendError(
                f"dataset {dataset.digest} held rows of a person who is forgotten since",
                f"start a new run of {dataset.pipeline}.tune: it leaves them out",
            )


def _tracked(order: Order, site: Site) -> TrackedRun:
    tracking = Tracking(site.installation.settings, site.report)
    return tracking.run(order.dataset.pipeline, order.key, order.recipe, order.dataset)


def _under(recipe: Recipe, model: Model) -> Model:
    return model.model_copy(update={"spec_digest": recipe.spec_digest, "recipe_index": recipe.index})
