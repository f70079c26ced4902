"""Waits for a job on the worker, showing how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable

from retune.backends.base import Backend, Curves, JobGoneError, JobLostError, Order, Point, View
from retune.backends.patience import Patience, patiently
from retune.errors import BackendError
from retune.records import Curve, Job, JobStatus, Model
from retune.tracking import TrackedRun

RESTARTS = 3
VANISHED = "the provider no longer knows job"
"""How the error of a job begins that may show up again."""
_REPORT_EVERY_S = 5.0


def follow(
    order: Order,
    job: Job,
    backend: Backend,
    run: TrackedRun,
    report: Callable[[str], None],
    timeout_s: float = float("inf"),
) -> View:
    """Wait for the job's end; a trainer that was killed is started again and resumes.

    Args:
        order: The job.
        job: Its handle.
        backend: Where it runs.
        run: Takes the curves.
        report: Takes progress lines.
        timeout_s: How long to wait.

    Raises:
        BackendError: It cannot be seen any more, its trainer dies each time, or the time is over. The
            job stays open: the next call goes on with it.
    """
    deadline = time.monotonic() + timeout_s
    told, losses = 0.0, 0
    patience = Patience(backend.settles_within_s)
    while True:
        pause = backend.poll_every_s
        try:
            view = backend.poll(job)
            patience.worked()
            if view.ended or time.monotonic() - told > _REPORT_EVERY_S:
                told = time.monotonic()
                show(order, view, backend.curves(job), run, report)
            if view.ended:
                return view
        except JobLostError as error:
            losses += 1
            if losses > RESTARTS:
                run.finish(JobStatus.FAILED, None)
                raise lost_too_often(order, job, error, losses) from error
            report(f"{order.recipe.title}: {error}; starting it again")
            backend.submit(order, lambda: None)
        except BackendError as error:
            try:
                pause = patience.failed(error, time.monotonic())
            except JobGoneError:
                return vanished(job)
        if time.monotonic() > deadline:
            raise too_late(order, job, timeout_s)
        time.sleep(pause)


def lost_too_often(order: Order, job: Job, error: BackendError, losses: int) -> BackendError:
    """Return the error for a job whose trainer dies each time."""
    return BackendError(
        f"{order.recipe.title}: {error} ({losses} times)", f"mend that and run again; see {job.url}"
    )


def vanished(job: Job) -> View:
    """Return the end of a job that its provider no longer knows."""
    return View(
        JobStatus.FAILED,
        f"{VANISHED} {job.provider_id} -> look whether somebody deleted it, then run again",
    )


def too_late(order: Order, job: Job, timeout_s: float) -> BackendError:
    """Return the error for a job that did not end in time; it goes on, and is adopted."""
    return BackendError(
        f"{order.recipe.title}: job {job.provider_id} has not ended in {timeout_s / 3600:.1f} h; it goes on",
        f"run again to adopt it, or stop it: retune jobs cancel {job.key[:12]}; see {job.url}",
    )


def show(order: Order, view: View, curves: Curves, run: TrackedRun, report: Callable[[str], None]) -> None:
    """Write the curves to MLflow, and a line for people."""
    run.log(curves.points)
    line = _progress(view, curves)
    if line:
        report(f"{order.recipe.title}: {line}")


def _progress(view: View, curves: Curves) -> str:
    """Return one line for people: step, losses, seconds left."""
    parts = [view.note] if view.note else []
    if curves.points:
        first, last = curves.points[0], curves.points[-1]
        parts.append(f"step {last.step}" + (f" of {curves.total_steps}" if curves.total_steps else ""))
        for name, title in (("loss", "loss"), ("eval_loss", "validation loss")):
            if points := curve(curves.points, name):
                parts.append(f"{title} {points[-1][1]:.4f}")
        if view.status is JobStatus.RUNNING and last.step > first.step and curves.total_steps:
            pace = (last.seconds - first.seconds) / (last.step - first.step)
            parts.append(f"{pace * (curves.total_steps - last.step):.0f} s left")
    return ", ".join(parts)


def curve(points: tuple[Point, ...], name: str) -> tuple[tuple[int, float], ...]:
    """Return one metric over the steps."""
    return tuple((point.step, point.values[name]) for point in points if name in point.values)


def model_of(
    order: Order, job: Job, backend: Backend, run: TrackedRun, view: View, report: Callable[[str], None]
) -> Model:
    """Fetch a succeeded job's model."""
    recipe = order.recipe
    trained = patiently(lambda: backend.fetch(job), report)
    points = patiently(lambda: backend.curves(job), report).points
    run.log(points)
    names = sorted({name for point in points for name in point.values})
    return Model(
        spec_digest=recipe.spec_digest,
        kind=trained.kind,
        digest=trained.digest,
        uri=trained.uri,
        base_model=recipe.base_model,
        base_digest=recipe.base_digest,
        job_key=order.key,
        recipe_index=recipe.index,
        curves=tuple(Curve(name=name, points=curve(points, name)) for name in names),
        seconds=view.seconds,
        cost_usd=trained.cost_usd,
        tracking_url=run.url,
        backend=backend.name,
        place=job.place,
        served_as=trained.served_as,
    )
