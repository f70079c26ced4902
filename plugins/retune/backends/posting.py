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
from retune.errors import BackendError, ConflictError, RetuneError, StateError
from retune.records import Job, JobStatus
from retune.state import jobs, spending
from retune.state.database import Database

LOOKS = 60
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
        BackendError: The provider refuses the job, it cannot be told whether it has made it, or somebody
            cancelled it meanwhile.
        StateError: The state cannot be read or written.
    """
    title, short = order.recipe.title, order.key[:12]
    posts, busy, told, doubt = 0, Patience(), False, Doubt(backend, clock)
    while True:
        row = _intended(order, backend, db, clock, reserve)
        if row.job is not None:
            return row.job
        # Taken before the look: only one that begins after the wait shows all that came within it.
        rest = doubt.rest(row)
        if (found := _adopt(order, backend, db, report)) is not None:
            report(f"{title}: job {short} is there already; adopted")
            return found
        if rest > 0:
            if not told:
                report(f"{title}: a request for job {short} may be under way; looking for it")
            told = True
            time.sleep(min(rest, backend.settles_within_s / LOOKS))
            continue
        if posts >= _MOST_POSTS:
            raise InDoubtError(
                f"{title}: {posts} requests for job {short} brought no answer and no job",
                "see the provider's status page, then clear the task",
            )
        try:
            return _store(order, _post(order, row, backend, db, clock, report, reserve), backend, db)
        except ConflictError:
            continue
        except InDoubtError as error:
            report(f"{title}: {error}; looking whether the job is there")
            posts, told = posts + 1, True
        except TransientError as error:
            pause = busy.failed(error, time.monotonic())
            report(f"{title}: {error}; trying again in {pause:.0f} s")
            time.sleep(pause)


def _intended(
    order: Order,
    backend: Backend,
    db: Database,
    clock: Callable[[], datetime],
    reserve: Callable[[Connection], object],
) -> jobs.JobRow:
    """Write the intent and set its money aside, or return what is known of the order already.

    Raises:
        BackendError: Somebody cancelled it meanwhile.
    """
    intent = {"dataset": order.dataset.digest, "recipe": order.recipe.to_json()}
    pipeline = order.dataset.pipeline
    with db.write() as tx:
        row = jobs.intend(tx, order.key, pipeline, backend.name, order.attempt, intent, clock())
        if row.job is None and row.status not in ENDED:
            reserve(tx)
    if row.job is None and row.status in ENDED:
        what = f"{order.recipe.title}: job {order.key[:12]} was cancelled before it was submitted"
        raise BackendError(what, "run again")
    return row


def _adopt(order: Order, backend: Backend, db: Database, report: Callable[[str], None]) -> Job | None:
    """Return the job that does the order, stored, and cancel its twins."""
    seen = patiently(lambda: backend.find(order), report)
    best = _best(seen)
    if best is None:
        return None
    # Stored before a twin is cancelled: who looks a moment later may see another one ahead.
    kept = _store(order, best, backend, db)
    _cancel_twins(seen, kept, backend, report)
    return kept


def cancel_twins(order: Order, known: Job, backend: Backend, report: Callable[[str], None]) -> None:
    """Cancel every job of the order that has not ended and is not the one whose handle is stored."""
    _cancel_twins(patiently(lambda: backend.find(order), report), known, backend, report)


def _cancel_twins(
    seen: Sequence[Sighting], known: Job, backend: Backend, report: Callable[[str], None]
) -> None:
    for twin in seen:
        if twin.job.provider_id != known.provider_id and twin.status not in ENDED:
            report(f"{twin.job.provider_id} is a twin of {known.provider_id}; cancelling it")
            patiently(lambda twin=twin: backend.cancel(twin.job), report)  # type: ignore[misc]


def _best(seen: Sequence[Sighting]) -> Job | None:
    """Return the job to keep: the furthest, and of equals the oldest."""
    ranked = sorted(
        seen, key=lambda one: (_BEST_FIRST.index(one.status), one.created_at, one.job.provider_id)
    )
    return ranked[0].job if ranked else None


class Doubt:
    """For how long a job that somebody asked for may still appear.

    A clock that was set back makes nobody wait longer than `settles_within_s`: what is left is read from
    the wall clock once for each request, and counted down by one that nobody sets.

    Args:
        backend: Where the job runs.
        clock: Returns the time.
    """

    def __init__(self, backend: Backend, clock: Callable[[], datetime]) -> None:
        self._backend = backend
        self._clock = clock
        self._posted_at: float | None = None
        self._until = 0.0

    def rest(self, row: jobs.JobRow) -> float:
        """Return the seconds that are left; 0 or less where none are."""
        if row.posted_at is None:
            return 0.0
        if row.posted_at != self._posted_at:
            settles = self._backend.settles_within_s
            left = min(row.posted_at + settles - self._clock().timestamp(), settles)
            self._posted_at, self._until = row.posted_at, time.monotonic() + left
        return self._until - time.monotonic()


def _post(
    order: Order,
    row: jobs.JobRow,
    backend: Backend,
    db: Database,
    clock: Callable[[], datetime],
    report: Callable[[str], None],
    reserve: Callable[[Connection], object],
) -> Job:
    posted: list[float] = []

    def posting() -> None:
        with db.write() as tx:
            at = jobs.posting(tx, order.key, row.posted_at, clock())
            reserve(tx)  # somebody whose try of the same order failed may have given it back
        posted.append(at)

    rows = order.dataset.train.rows
    report(f"{order.recipe.title}: {rows} rows, attempt {order.attempt}, job {order.key[:12]}")
    try:
        return backend.submit(order, posting)
    except (InDoubtError, StateError):
        raise
    except RetuneError:
        with db.write() as tx:
            if posted:
                jobs.refused(tx, order.key, posted[-1])
            known = jobs.get(tx, order.key)
            if known and known.job is None and known.posted_at is None and known.status not in ENDED:
                spending.release(tx, order.key)
        raise


def _store(order: Order, job: Job, backend: Backend, db: Database) -> Job:
    """Store the handle; where somebody was quicker, his job stays and this one is cancelled.

    Raises:
        ConflictError: The order was cancelled meanwhile, and so is this job.
    """
    try:
        with db.write() as tx:
            kept = jobs.submitted(tx, order.key, job)
    except ConflictError:
        backend.cancel(job)
        raise
    if kept.provider_id != job.provider_id:
        backend.cancel(job)
    return kept
