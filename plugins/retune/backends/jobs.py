"""A job runs exactly once: intent, orphan, submit, handle, follow, fetch."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

from retune.artifacts import Artifacts, digest_of_json
from retune.backends.base import Backend, JobLostError, Order, Point, View, load_backend
from retune.errors import BackendError
from retune.records import Curve, Dataset, Job, JobStatus, Model, Recipe
from retune.settings import Settings
from retune.state import jobs, retrains
from retune.state.database import Database
from retune.tracking import TrackedRun, Tracking

_ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
_RESTARTS = 3
_REPORT_EVERY_S = 5.0


def job_key(dataset: Dataset, recipe: Recipe, backend: str, account: str, attempt: int) -> str:
    """Return the key of a job: the same data, recipe, payer and attempt are the same job.

    What does not change the model is left out: the spec's digest, the recipe's place, our version.
    """
    what = recipe.to_json()
    for name in ("schema_version", "spec_digest", "retune_version", "index"):
        del what[name]
    parts = {"dataset": dataset.digest, "recipe": what, "backend": backend, "account": account}
    return digest_of_json(parts | {"attempt": attempt}).removeprefix("sha256:")


def run_job(
    recipe: Recipe,
    dataset: Dataset,
    *,
    db: Database,
    artifacts: Artifacts,
    settings: Settings,
    now: datetime,
    report: Callable[[str], None] = print,
    started: Callable[[str], None] = lambda _: None,
) -> Model:
    """Train a recipe on a dataset, or return the model that the same job made before; blocks.

    A job that runs already is adopted, and one whose trainer was killed goes on from its last
    checkpoint. One that failed by its own error or was cancelled is a new attempt, once a call: it
    is the caller's retries that repeat it.

    Args:
        recipe: What to train, resolved.
        dataset: What to train it on.
        db: Retune's state.
        artifacts: Where the model is stored.
        settings: This installation.
        now: The current time, with a zone.
        report: Takes progress lines.
        started: Takes the address of the training's page in MLflow, once it is there.

    Returns:
        The model, under this recipe's spec.

    Raises:
        BackendError: The job is refused, failed, or was cancelled.
        StateError: The state cannot be read or written; nothing was submitted then.
    """
    begun = time.monotonic()
    _refuse_forgotten(dataset, db)
    backend = load_backend(recipe.backend, settings, artifacts)
    order, row = _current(recipe, dataset, backend, db, artifacts, report)
    if row is not None and row.model is not None:
        report(f"{recipe.title}: the same job made {row.model.digest} before; reused")
        return row.model.model_copy(update={"spec_digest": recipe.spec_digest, "recipe_index": recipe.index})
    if row is None:
        backend.validate(order)
    job = _start(order, backend, db, now, report)
    run = Tracking(settings, report).run(dataset.pipeline, order.key, recipe, dataset)
    started(run.url)
    view = _follow(order, job, backend, run, report)
    model = None
    if view.status is JobStatus.SUCCEEDED:
        model = _model(order, job, view, backend, run)
    run.finish(view.status, model)
    with db.write() as tx:
        known = jobs.get(tx, order.key)
        if known is None or known.status not in _ENDED:  # a twin may have been quicker
            later = now + timedelta(seconds=time.monotonic() - begun)
            jobs.finished(tx, order.key, view.status, model, view.error, later)
    if model is None:
        raise BackendError(f"{recipe.title} {view.status}: {view.error}", f"then run again; see {job.url}")
    report(f"{recipe.title}: {model.digest} in {model.seconds:.0f} s")
    return model


def _refuse_forgotten(dataset: Dataset, db: Database) -> None:
    """Neither train on a forgotten person's rows nor reuse a model that was."""
    with db.read() as tx:
        if retrains.is_tainted(tx, dataset.digest, dataset.pipeline):
            raise BackendError(
                f"dataset {dataset.digest} held rows of a person who is forgotten since",
                f"start a new run of {dataset.pipeline}.tune: it leaves them out",
            )


def cancel_job(
    recipe: Recipe, dataset: Dataset, *, db: Database, artifacts: Artifacts, settings: Settings, now: datetime
) -> bool:
    """Cancel the running job of a recipe and a dataset, and say whether there was one.

    Raises:
        BackendError: It cannot be cancelled from here.
    """
    backend = load_backend(recipe.backend, settings, artifacts)
    order, row = _current(recipe, dataset, backend, db, artifacts, lambda _: None)
    if row is None or row.model is not None:
        return False
    job = row.job or backend.find(order)
    if job is not None:
        backend.cancel(job)
    with db.write() as tx:
        jobs.finished(tx, order.key, JobStatus.CANCELLED, None, "cancelled", now)
    return True


def _current(
    recipe: Recipe,
    dataset: Dataset,
    backend: Backend,
    db: Database,
    artifacts: Artifacts,
    report: Callable[[str], None],
) -> tuple[Order, jobs.JobRow | None]:
    """Return the attempt that counts: the first that neither failed, was cancelled nor lost its model."""
    with db.read() as tx:
        for attempt in count(1):
            key = job_key(dataset, recipe, backend.name, backend.account, attempt)
            row = jobs.get(tx, key)
            order = Order(key, attempt, recipe, dataset)
            if row is None or row.status not in _ENDED:
                return order, row
            if row.model is not None:
                if row.model.kind == "hosted" or artifacts.exists(row.model.digest):
                    return order, row
                report(f"{recipe.title}: {row.model.digest} is no longer stored; training it again")
    raise AssertionError("count() does not end")


def _start(order: Order, backend: Backend, db: Database, now: datetime, report: Callable[[str], None]) -> Job:
    """Write the intent, adopt what is there or submit, write the handle."""
    recipe, dataset = order.recipe, order.dataset
    intent = {"dataset": dataset.digest, "recipe": recipe.to_json()}
    with db.write() as tx:
        row = jobs.intend(tx, order.key, dataset.pipeline, backend.name, order.attempt, intent, now)
    job = row.job or backend.find(order)
    if job is None:
        report(f"{recipe.title}: {dataset.train.rows} rows, attempt {order.attempt}, job {order.key[:12]}")
        job = backend.submit(order)
    else:
        report(f"{recipe.title}: job {order.key[:12]} is there already; adopted")
    if row.job is None:
        with db.write() as tx:
            jobs.submitted(tx, order.key, job)
    return job


def _follow(order: Order, job: Job, backend: Backend, run: TrackedRun, report: Callable[[str], None]) -> View:
    """Wait for the job's end; a trainer that was killed is started again and resumes."""
    told, losses = 0.0, 0
    while True:
        try:
            view = backend.poll(job)
        except JobLostError as error:
            losses += 1
            if losses > _RESTARTS:
                run.finish(JobStatus.FAILED, None)
                # The job stays open: it is the same attempt that goes on from its checkpoint.
                raise BackendError(
                    f"{order.recipe.title}: {error} ({losses} times)",
                    f"mend that and run again; see {job.url}",
                ) from error
            report(f"{order.recipe.title}: {error}; starting it again")
            backend.submit(order)
            continue
        run.log(view.points)
        ended = view.status in _ENDED
        if view.points and (ended or time.monotonic() - told > _REPORT_EVERY_S):
            told = time.monotonic()
            report(f"{order.recipe.title}: {_progress(view)}")
        if ended:
            return view
        time.sleep(backend.poll_every_s)


def _progress(view: View) -> str:
    """Return one line for people: step, losses, seconds left."""
    last = view.points[-1]
    parts = [f"step {last.step}" + (f" of {view.total_steps}" if view.total_steps else "")]
    for name, title in (("loss", "loss"), ("eval_loss", "validation loss")):
        if points := _curve(view.points, name):
            parts.append(f"{title} {points[-1][1]:.4f}")
    first = view.points[0]
    if view.status is JobStatus.RUNNING and last.step > first.step:
        pace = (last.seconds - first.seconds) / (last.step - first.step)
        parts.append(f"{pace * (view.total_steps - last.step):.0f} s left")
    return ", ".join(parts)


def _curve(points: tuple[Point, ...], name: str) -> tuple[tuple[int, float], ...]:
    return tuple((point.step, point.values[name]) for point in points if name in point.values)


def _model(order: Order, job: Job, view: View, backend: Backend, run: TrackedRun) -> Model:
    trained = backend.fetch(job)
    names = sorted({name for point in view.points for name in point.values})
    recipe = order.recipe
    return Model(
        spec_digest=recipe.spec_digest,
        kind=trained.kind,
        digest=trained.digest,
        uri=trained.uri,
        base_model=recipe.base_model,
        base_digest=recipe.base_digest,
        job_key=order.key,
        recipe_index=recipe.index,
        curves=tuple(Curve(name=name, points=_curve(view.points, name)) for name in names),
        seconds=view.seconds,
        cost_usd=trained.cost_usd,
        tracking_url=run.url,
    )
