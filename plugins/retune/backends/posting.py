"""From an order to the one job that does it, whatever crashes in between.

The intent is written first, then the provider is asked for a job with the order's key, and only where
there is none the request goes out that costs money. Before it goes out, that moment is written down;
whoever finds it there without a handle knows that a request may be under way, and looks for its job
until none can appear any more. What remains: a request that the provider commits later than
`settles_within_s` makes a twin, which is found and cancelled by the looks that follow, up to the job's
end; a twin that shows up after the end stays, and is named in docs/backends.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from retune.backends.base import ENDED, Backend, InDoubtError, Order, Sighting, TransientError
from retune.backends.patience import Patience, patiently
from retune.errors import BackendError, ConflictError
from retune.records import Job, JobStatus
from retune.state import jobs, spending
from retune.state.database import Database

_LOOKS = 60
"""At the provider, while a request may be under way."""
_MOST_POSTS = 3
_BEST_FIRST = (
    JobStatus.SUCCEEDED,
    JobStatus.RUNNING,
    JobStatus.PENDING,
    JobStatus.FAILED,
    JobStatus.CANCELLED,
)


def place_order(
    order: Order,
    backend: Backend,
    db: Database,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
    reserve: Callable[[Connection], object] = lambda _: None,
) -> Job:
    """Return the handle of the order's job: the stored one, an adopted one, or a new one's.

    Args:
        order: The job.
        backend: Where it runs.
        db: The state.
        clock: Returns the time.
        report: Takes progress lines.
        reserve: Sets the job's money aside, in the transaction that writes the intent.

    Raises:
        BackendError: The provider refuses the job, or it cannot be told whether it has made it.
        StateError: The state cannot be read or written.
    """
    intent = {"dataset": order.dataset.digest, "recipe": order.recipe.to_json()}
    title, short = order.recipe.title, order.key[:12]
    posts, busy, told = 0, Patience(), False
    while True:
        with db.write() as tx:
            row = jobs.intend(
                tx, order.key, order.dataset.pipeline, backend.name, order.attempt, intent, clock()
            )
            if row.job is None:
                reserve(tx)
        if row.job is not None:
            return row.job
        if (found := adopt(order, backend, report)) is not None:
            report(f"{title}: job {short} is there already; adopted")
            return _store(order, found, backend, db)
        rest = _in_doubt_for(row, backend, clock())
        if rest > 0:
            if not told:
                report(f"{title}: a request for job {short} may be under way; looking for it")
            told = True
            time.sleep(min(rest, backend.settles_within_s / _LOOKS))
            continue
        if posts >= _MOST_POSTS:
            raise InDoubtError(
                f"{title}: {posts} requests for job {short} brought no answer and no job",
                "see the provider's status page, then clear the task",
            )
        try:
            return _store(order, _post(order, row, backend, db, clock, report), backend, db)
        except ConflictError:
            continue
        except InDoubtError as error:
            report(f"{title}: {error}; looking whether the job is there")
            posts, told = posts + 1, True
        except TransientError as error:
            pause = busy.failed(error, time.monotonic())
            report(f"{title}: {error}; trying again in {pause:.0f} s")
            time.sleep(pause)


def adopt(
    order: Order, backend: Backend, report: Callable[[str], None], known: Job | None = None
) -> Job | None:
    """Return the job that does the order, and cancel every twin of it that has not ended.

    Args:
        order: The job.
        backend: Where it runs.
        report: Takes a line for each twin.
        known: The job whose handle is stored; None: the best of those that are found.
    """
    seen = patiently(lambda: backend.find(order), report)
    chosen = known or _best(seen)
    for twin in seen:
        if chosen and twin.job.provider_id != chosen.provider_id and twin.status not in ENDED:
            report(f"{twin.job.provider_id} is a twin of {chosen.provider_id}; cancelling it")
            patiently(lambda twin=twin: backend.cancel(twin.job), report)  # type: ignore[misc]
    return chosen


def _best(seen: Sequence[Sighting]) -> Job | None:
    """Return the job to keep: the furthest, and of equals the oldest, so that all who look agree."""
    ranked = sorted(
        seen, key=lambda one: (_BEST_FIRST.index(one.status), one.created_at, one.job.provider_id)
    )
    return ranked[0].job if ranked else None


def _in_doubt_for(row: jobs.JobRow, backend: Backend, now: datetime) -> float:
    """Return for how many seconds a job that somebody asked for may still appear."""
    if row.posted_at is None:
        return 0.0
    # A clock that was set back must not make it wait for ever.
    return min(row.posted_at + backend.settles_within_s - now.timestamp(), backend.settles_within_s)


def _post(
    order: Order,
    row: jobs.JobRow,
    backend: Backend,
    db: Database,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
) -> Job:
    posted: list[float] = []

    def posting() -> None:
        with db.write() as tx:
            posted.append(jobs.posting(tx, order.key, row.posted_at, clock()))

    rows = order.dataset.train.rows
    report(f"{order.recipe.title}: {rows} rows, attempt {order.attempt}, job {order.key[:12]}")
    try:
        return backend.submit(order, posting)
    except InDoubtError:
        raise
    except BackendError:
        if posted:
            with db.write() as tx:
                jobs.refused(tx, order.key, posted[-1])
                spending.release(tx, order.key)
        raise


def _store(order: Order, job: Job, backend: Backend, db: Database) -> Job:
    """Store the handle; where somebody was quicker, his job stays and this one is cancelled."""
    with db.write() as tx:
        kept = jobs.submitted(tx, order.key, job)
    if kept.provider_id != job.provider_id:
        backend.cancel(job)
    return kept
