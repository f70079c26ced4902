"""How a job is cancelled, and how any end of one is written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from retune.backends.attempts import job_key
from retune.backends.base import ENDED, Backend, JobGoneError, JobLostError, Order, View
from retune.backends.patience import patiently
from retune.backends.posting import LOOKS, Doubt
from retune.records import Job, JobStatus, Model
from retune.state import jobs, spending
from retune.state.database import Database


def cancel(job: Job, backend: Backend, report: Callable[[str], None]) -> bool:
    """Cancel a job unless it has ended, and say whether it made nothing.

    Raises:
        BackendError: It cannot be cancelled from here.
    """
    within_s = backend.settles_within_s
    try:
        patiently(lambda: backend.cancel(job), report, within_s)
        return patiently(lambda: backend.poll(job), report, within_s).status is not JobStatus.SUCCEEDED
    except (JobGoneError, JobLostError):
        return True


def cancel_orphans(
    order: Order,
    backend: Backend,
    db: Database,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
) -> None:
    """Cancel what the attempt before left behind where it was cancelled before it had a handle.

    It is looked for as long as it may still appear.
    """
    if order.attempt == 1:
        return
    key = job_key(order.dataset, order.recipe, backend.name, backend.account, order.attempt - 1)
    with db.read() as tx:
        row = jobs.get(tx, key)
    if row is not None and row.job is None and row.posted_at is not None:
        before, doubt = Order(key, order.attempt - 1, order.recipe, order.dataset), Doubt(backend, clock)
        rest = doubt.rest(row)
        while not (found := patiently(lambda: backend.find(before), report)) and rest > 0:
            time.sleep(min(rest, backend.settles_within_s / LOOKS))
            rest = doubt.rest(row)
        for seen in found:
            if seen.status not in ENDED:
                report(f"{order.recipe.title}: cancelling {seen.job.provider_id}, which came late")
                cancel(seen.job, backend, report)


def close(tx: Connection, key: str, view: View, model: Model | None, now: datetime) -> None:
    """Write how a job ended, and what it cost: a cancelled one as much as was set aside for it."""
    known = jobs.get(tx, key)
    jobs.finished(tx, key, view.status, model, view.error, now)
    aside = spending.get(tx, key)
    never_made = known is not None and known.job is None and known.posted_at is None
    if view.status is JobStatus.FAILED or never_made:
        spending.release(tx, key)
    elif aside is not None:
        spending.settle(tx, key, model.cost_usd if model else aside.usd, now)
