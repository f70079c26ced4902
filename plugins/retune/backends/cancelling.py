"""How a job is cancelled, and how any end of one is written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from retune.backends.attempts import job_key
from retune.backends.base import (
    ENDED,
    Backend,
    JobGoneError,
    JobLostError,
    Order,
    Sighting,
    TransientError,
    View,
)
from retune.backends.patience import patiently
from retune.backends.posting import LOOKS, Doubt
from retune.records import Job, JobStatus, Model
from retune.state import jobs, spending
from retune.state.database import Database


def cancel(job: Job, backend: Backend, report: Callable[[str], None]) -> View:
    """Cancel a job unless it has ended, and return how it stands then.

    It may go on for a while, and may even make its model: a provider does not promise more.

    Raises:
        BackendError: It cannot be cancelled from here.
    """
    within_s = backend.settles_within_s
    try:
        patiently(lambda: backend.cancel(job), report, within_s)
        return patiently(lambda: backend.poll(job), report, within_s)
    except (JobGoneError, JobLostError):
        return View(JobStatus.CANCELLED)


def outlived(
    order: Order,
    backend: Backend,
    db: Database,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
    *,
    forced: bool,
) -> bool:
    """Reopen the attempt before an order's where its job is alive or has made its model after all.

    A cancel may come too late: success "is not guaranteed" (tuningJobs.cancel, Vertex AI's REST reference).
    So what was cancelled is cancelled again, and its end is waited for. A job that its provider did not
    know for long may be known again. One that was asked for, and cancelled before it had a handle, is
    looked for as long as it may still appear.

    Args:
        order: A new attempt, not yet intended.
        backend: Where it runs.
        db: The state.
        clock: Returns the time.
        report: Takes progress lines.
        forced: Whether a model of an attempt before is not wanted.

    Returns:
        Whether it was reopened, and so is the attempt that counts.

    Raises:
        TransientError: A job that was cancelled goes on for long.
    """
    if order.attempt == 1:
        return False
    key = job_key(order.dataset, order.recipe, backend.name, backend.account, order.attempt - 1)
    with db.read() as tx:
        row = jobs.get(tx, key)
    if row is None or row.status is JobStatus.SUCCEEDED or (row.job is None and row.posted_at is None):
        return False
    before = Order(key, order.attempt - 1, order.recipe, order.dataset)
    found = sightings(before, row, backend, clock, report)
    if row.status is JobStatus.CANCELLED or forced:
        ended = [(one.job, _ended(one, order, backend, report)) for one in found]
    else:
        ended = [(one.job, _standing(one, backend, report)) for one in found]
    wanted = [job for job, status in ended if status not in (JobStatus.FAILED, JobStatus.CANCELLED)]
    if not wanted or forced:
        return False
    report(f"{order.recipe.title}: {wanted[0].provider_id} of the attempt before goes on after all; adopted")
    with db.write() as tx:
        jobs.reopened(tx, key, wanted[0])
    return True


def sightings(
    order: Order,
    row: jobs.JobRow,
    backend: Backend,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
) -> list[Sighting]:
    """Return the jobs of an order at its provider, after a wait where one may still appear."""
    doubt = Doubt(backend, clock)
    rest = doubt.rest(row) if row.job is None else 0.0
    while not (found := patiently(lambda: backend.find(order), report)) and rest > 0:
        time.sleep(min(rest, backend.settles_within_s / LOOKS))
        rest = doubt.rest(row)
    return list(found)


def _standing(one: Sighting, backend: Backend, report: Callable[[str], None]) -> JobStatus:
    """Return how a job stands: of one that goes on, a list is too coarse."""
    if one.status in ENDED:
        return one.status
    try:
        return patiently(lambda: backend.poll(one.job), report, backend.settles_within_s).status
    except (JobGoneError, JobLostError):
        return JobStatus.FAILED


def _ended(one: Sighting, order: Order, backend: Backend, report: Callable[[str], None]) -> JobStatus:
    """Cancel a job that has not ended, wait for its end, and return that."""
    if one.status in ENDED:
        return one.status
    title, name = order.recipe.title, one.job.provider_id
    report(f"{title}: cancelling {name}, which outlived its attempt")
    view, until = cancel(one.job, backend, report), time.monotonic() + backend.settles_within_s
    while not view.ended:
        if time.monotonic() > until:
            what = f"{title}: {name} was cancelled and has not ended yet"
            raise TransientError(what, "run again: a new one is made once it has")
        time.sleep(backend.settles_within_s / LOOKS)
        view = patiently(lambda: backend.poll(one.job), report, backend.settles_within_s)
    return view.status


def close(tx: Connection, key: str, view: View, model: Model | None, now: datetime) -> None:
    """Write how a job ended, and what it cost."""
    known = jobs.get(tx, key)
    jobs.finished(tx, key, view.status, model, view.error, now)
    aside = spending.get(tx, key)
    if model is not None:
        spending.settle(tx, key, model.cost_usd, now)
    elif aside is not None:
        usd = aside.usd if view.cost_usd is None else view.cost_usd
        never_made = known is not None and known.job is None and known.posted_at is None
        if never_made or (view.status is JobStatus.FAILED and usd == 0):
            spending.release(tx, key)
        else:
            spending.settle(tx, key, usd, now)
