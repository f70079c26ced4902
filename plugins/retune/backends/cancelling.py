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
    Installation,
    JobGoneError,
    JobLostError,
    Order,
    Sighting,
    TransientError,
    View,
    load_backend,
)
from retune.backends.following import VANISHED
from retune.backends.patience import patiently
from retune.backends.posting import LOOKS, Doubt
from retune.errors import BackendError
from retune.records import Job, JobStatus, Model
from retune.state import jobs, spending
from retune.state.database import Database, stamp

CANCELLED_WITHIN_S = 120.0
"""For how long the end of a cancelled job is waited for at a time."""


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
    installation: Installation,
    db: Database,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
    forced_at: datetime | None,
) -> bool:
    """Look after the attempt before a new one: is its job alive, or has it made its model after all?

    A cancel may come too late: success "is not guaranteed" (tuningJobs.cancel, Vertex AI's REST reference).
    So what was cancelled and goes on is cancelled again, and its end is waited for. A job that its provider
    did not know for long may be known again. One that was asked for, and cancelled before it had a handle,
    is looked for as long as it may still appear.

    Args:
        order: A new attempt, not yet intended.
        backend: Where it runs.
        installation: What backends are made of.
        db: The state.
        clock: Returns the time.
        report: Takes progress lines.
        forced_at: A model of an attempt that ended before it is not wanted; None: any is.

    Returns:
        Whether the state has changed, so that another attempt may count than the order's.

    Raises:
        TransientError: A job that was cancelled goes on for long.
    """
    found = _before(order, backend, db)
    if found is None:
        return False
    before, row = found
    stale = forced_at is not None and (row.finished_at or 0.0) < stamp(forced_at)
    alive = []
    for job, there in _known(before, row, backend, installation, clock, report):
        status = _status(job, there, row.status is JobStatus.CANCELLED or stale, order.recipe.title, report)
        if status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            alive.append((job, there))
    if not alive or stale:
        return False
    job, there = alive[0]
    report(f"{order.recipe.title}: {job.provider_id} of the attempt before goes on after all; adopted")
    with db.write() as tx:
        if jobs.reopened(tx, row, job, order.key):
            spending.reopened(tx, row.key)
            return True
        passed_over = jobs.get(tx, order.key) is not None
    # Somebody else was quicker: he has adopted it, or gone on without it.
    if passed_over:
        cancel(job, there, report)
    return True


def _before(order: Order, backend: Backend, db: Database) -> tuple[Order, jobs.JobRow] | None:
    """Return the attempt before the order's that may have made a job which nobody has seen end."""
    with db.read() as tx:
        for attempt in range(order.attempt - 1, 0, -1):
            key = job_key(order.dataset, order.recipe, backend.name, backend.account, attempt)
            row = jobs.get(tx, key)
            if row is not None and row.job is None and row.posted_at is None:
                continue  # it was never asked for
            if row is None or row.status is JobStatus.SUCCEEDED:
                return None
            if row.status is JobStatus.FAILED and not row.error.startswith(VANISHED):
                return None
            return Order(key, attempt, order.recipe, order.dataset), row
    return None


def _known(
    before: Order,
    row: jobs.JobRow,
    backend: Backend,
    installation: Installation,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
) -> list[tuple[Job, Backend]]:
    """Return an attempt's jobs: that of its handle, which no list need show, and what the provider lists."""
    listed = [one.job for one in sightings(before, row, backend, clock, report)]
    found = {job.provider_id: (job, backend) for job in listed}
    if row.job is not None:
        found[row.job.provider_id] = row.job, load_backend(row.backend, installation, row.job.place)
    return list(found.values())


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


def _status(
    job: Job, backend: Backend, unwanted: bool, title: str, report: Callable[[str], None]
) -> JobStatus:
    """Return how a job stands; of one that is not wanted, once it has ended."""
    status, until = _poll(job, backend, report), time.monotonic() + CANCELLED_WITHIN_S
    if not unwanted or status in ENDED:
        return status
    report(f"{title}: cancelling {job.provider_id}, which outlived its attempt")
    try:
        cancel(job, backend, report)
    except BackendError as error:  # such as of a job that is being cancelled
        report(f"{title}: {error}; its end is waited for")
    while (status := _poll(job, backend, report)) not in ENDED:
        if time.monotonic() > until:
            what = f"{title}: {job.provider_id} was cancelled and has not ended yet"
            raise TransientError(what, "run again: a new one is made once it has")
        time.sleep(min(max(backend.poll_every_s, 0.05), 5.0))
    return status


def _poll(job: Job, backend: Backend, report: Callable[[str], None]) -> JobStatus:
    """Ask how a job stands; a list may be behind. One that nobody can tell of any more has ended."""
    try:
        return patiently(lambda: backend.poll(job), report, backend.settles_within_s).status
    except (JobGoneError, JobLostError):
        return JobStatus.CANCELLED
    except BackendError as error:
        if error.may_pass:
            raise
        # Such as a job that was cancelled in another host's home.
        report(f"job {job.provider_id}: {error}")
        return JobStatus.CANCELLED


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
