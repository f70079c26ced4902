"""Job intents and handles: at most one a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from retune.errors import ConflictError, StateError
from retune.records import Job, JobStatus, Model
from retune.state.database import serialise, stamp, when
from retune.state.tables import jobs


@dataclass(frozen=True)
class JobRow:
    """What is known of a job."""

    key: str
    pipeline: str
    backend: str
    attempt: int
    status: JobStatus
    intent: dict[str, Any]
    job: Job | None
    """Its handle, once the provider has it."""
    model: Model | None
    """What it made, once it succeeded."""
    error: str
    posted_at: float | None = None
    """When somebody last set out to post it, in seconds since 1970."""
    finished_at: float | None = None
    """When it ended, in seconds since 1970."""


def get(tx: Connection, key: str) -> JobRow | None:
    """Return the job of that key, or None."""
    row = tx.execute(select(jobs).where(jobs.c.key == key)).mappings().first()
    if row is None:
        return None
    return _row(row)


def unfinished(tx: Connection, pipeline: str) -> list[JobRow]:
    """Return the pipeline's jobs that have not ended, oldest first."""
    query = select(jobs).where(jobs.c.pipeline == pipeline, jobs.c.finished_at.is_(None))
    return [_row(row) for row in tx.execute(query.order_by(jobs.c.at)).mappings()]


def list_all(tx: Connection) -> list[tuple[JobRow, datetime | None]]:
    """Return every job with when it ended, oldest first."""
    found = tx.execute(select(jobs).order_by(jobs.c.at)).mappings()
    return [(_row(row), None if row["finished_at"] is None else when(row["finished_at"])) for row in found]


def _row(row: RowMapping) -> JobRow:
    return JobRow(
        key=row["key"],
        pipeline=row["pipeline"],
        backend=row["backend"],
        attempt=row["attempt"],
        status=JobStatus(row["status"]),
        intent=row["intent"],
        job=Job.from_json(row["job"]) if row["job"] else None,
        model=Model.from_json(row["model"]) if row["model"] else None,
        error=row["error"],
        posted_at=row["posted_at"],
        finished_at=row["finished_at"],
    )


def intend(
    tx: Connection,
    key: str,
    pipeline: str,
    backend: str,
    attempt: int,
    intent: dict[str, Any],
    now: datetime,
) -> JobRow:
    """Write the intent to run a job, or return what is known of that key already."""
    serialise(tx, f"job {key}")
    known = get(tx, key)
    if known is not None:
        return known
    tx.execute(
        insert(jobs).values(
            key=key,
            pipeline=pipeline,
            backend=backend,
            attempt=attempt,
            status=JobStatus.PENDING,
            intent=intent,
            error="",
            at=stamp(now),
        )
    )
    return JobRow(key, pipeline, backend, attempt, JobStatus.PENDING, intent, None, None, "")


def posting(tx: Connection, key: str, seen: float | None, now: datetime) -> float:
    """Note that the billable request of a job goes out now, and return that time as `refused` takes it.

    Args:
        tx: The transaction.
        key: The job's.
        seen: The `posted_at` that the caller decided upon.
        now: The time.

    Raises:
        ConflictError: Somebody else posts it, has stored its handle, or has cancelled it.
    """
    at = stamp(now)
    free = (*_open(key), jobs.c.posted_at.is_not_distinct_from(seen))
    if tx.execute(update(jobs).where(*free).values(posted_at=at)).rowcount != 1:
        raise ConflictError(f"job {key} is posted by somebody else", "look for it again")
    return at


def refused(tx: Connection, key: str, at: float) -> None:
    """Take back what `posting` noted: the provider has certainly not made the job."""
    tx.execute(update(jobs).where(jobs.c.key == key, jobs.c.posted_at == at).values(posted_at=None))


def submitted(tx: Connection, key: str, job: Job) -> Job:
    """Store the handle of a submitted or adopted job, and return the one that is stored.

    It is another's where that was stored first.

    Raises:
        ConflictError: It was cancelled meanwhile.
        StateError: No such job was intended.
    """
    record = {"job": job.to_json(), "status": JobStatus.RUNNING}
    if tx.execute(update(jobs).where(*_open(key)).values(**record)).rowcount == 1:
        return job
    row = get(tx, key)
    if row is None:
        raise StateError(f"no job {key} was intended", "write the intent before anything else")
    if row.job is None:
        raise ConflictError(f"job {key} was cancelled before it had a handle", "run again")
    return row.job


def _open(key: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a job has neither a handle nor an end."""
    return jobs.c.key == key, jobs.c.job.is_(None), jobs.c.finished_at.is_(None)


def noted(tx: Connection, key: str, reason: str) -> None:
    """Note why a job that has not ended is about to be cancelled."""
    tx.execute(update(jobs).where(jobs.c.key == key, jobs.c.finished_at.is_(None)).values(error=reason))


def finished(
    tx: Connection, key: str, status: JobStatus, model: Model | None, error: str, now: datetime
) -> None:
    """Store how a job ended."""
    record = model.to_json() if model else None
    _change(tx, key, status=status, model=record, error=error, finished_at=stamp(now))


def reopened(tx: Connection, seen: JobRow, job: Job, following: str) -> bool:
    """Take the end of a job back: its provider goes on with it, or has made its model.

    Args:
        tx: A transaction that writes.
        seen: The row that the caller decided upon.
        job: The handle.
        following: Key of the next attempt.

    Returns:
        Whether it was taken back: not where the row has changed since, or the next attempt is intended.
    """
    serialise(tx, f"job {following}")
    if get(tx, following) is not None:
        return False
    same = (
        jobs.c.key == seen.key,
        jobs.c.status == seen.status,
        jobs.c.finished_at.is_not_distinct_from(seen.finished_at),
    )
    values = {"job": job.to_json(), "status": JobStatus.RUNNING, "error": "", "finished_at": None}
    return tx.execute(update(jobs).where(*same).values(**values)).rowcount == 1


def _change(tx: Connection, key: str, **values: Any) -> None:
    if tx.execute(update(jobs).where(jobs.c.key == key).values(**values)).rowcount != 1:
        raise StateError(f"no job {key} was intended", "write the intent before anything else")
