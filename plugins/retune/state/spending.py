"""Money: set aside before a job is submitted, and counted as paid once it has ended.

A job counts in the calendar month, in UTC, in which its money was set aside, also where it ends in the
next: what was decided on a month's figures never changes another month's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from retune.errors import StateError
from retune.spec.budget import Budget, dollars, over
from retune.state import jobs
from retune.state.database import serialise, stamp, when
from retune.state.tables import spending


class BudgetError(StateError):
    """The month's budget does not hold what a job would cost."""


@dataclass(frozen=True)
class Spent:
    """What jobs of a month have cost, or may cost yet."""

    settled: float
    """US dollars of jobs that have ended."""
    reserved: float
    """US dollars set aside for jobs that have not."""
    jobs: int
    """All of them."""
    unpriced: int
    """Those among them whose cost nobody knows; the sums leave them out."""

    @property
    def total(self) -> float:
        """US dollars, all together."""
        return self.settled + self.reserved


@dataclass(frozen=True)
class Entry:
    """One job's money."""

    key: str
    pipeline: str
    usd: float | None
    """US dollars; None where nobody knows."""
    at: datetime
    """When it was set aside."""
    settled_at: datetime | None
    """When it became what was really paid; None while the job has not ended."""


def reserve(
    tx: Connection, key: str, pipeline: str, usd: float | None, now: datetime, budget: Budget | None = None
) -> Entry:
    """Set money aside for a job, or return what is known of that job's already.

    Runs that reserve at once are let through one by one, so that each sees what the others took.

    Args:
        tx: A transaction that writes; the money is set aside once it is committed.
        key: The job's.
        pipeline: Whose budget it is.
        usd: What the job will cost in US dollars; None where the price is not known.
        now: The current time.
        budget: The spec's; without one nothing is refused.

    Raises:
        BudgetError: The month would cost more than the budget allows. Nothing was set aside.
    """
    serialise(tx, f"spending {pipeline}")
    known = get(tx, key)
    if known is not None:
        return known
    if budget is not None and usd is not None:
        _require_room(spent(tx, pipeline, now), usd, pipeline, budget)
    tx.execute(insert(spending).values(key=key, pipeline=pipeline, usd=usd, at=stamp(now)))
    return Entry(key, pipeline, usd, now, None)


def _require_room(month: Spent, usd: float, pipeline: str, budget: Budget) -> None:
    limit = budget.monthly_usd
    # What costs nothing is no reason to stop, whatever the month has cost.
    if limit is not None and over(usd, 0) and over(month.total + usd, limit):
        raise BudgetError(
            f"a job of {pipeline} would cost {dollars(usd)} on top of this month's {dollars(month.total)}"
            f" ({dollars(month.settled)} paid, {dollars(month.reserved)} reserved), more than the"
            f" {dollars(limit)} of budget.monthly_usd",
            "raise it, or wait for the next month (UTC)",
        )


def settle(tx: Connection, key: str, usd: float | None, now: datetime) -> None:
    """Replace what was set aside by what was really paid; what is settled stays so.

    Args:
        tx: A transaction that writes.
        key: The job's.
        usd: What was paid; None where nobody knows.
        now: The current time.

    Raises:
        StateError: No such job is known.
    """
    settled = {"usd": usd, "settled_at": stamp(now)}
    still_open = (spending.c.key == key) & spending.c.settled_at.is_(None)
    if tx.execute(update(spending).where(still_open).values(**settled)).rowcount or get(tx, key):
        return
    # A job from before Retune reserved anything.
    job = jobs.get(tx, key)
    if job is None:
        raise StateError(f"nothing was reserved for job {key}", "reserve before it is submitted")
    tx.execute(insert(spending).values(key=key, pipeline=job.pipeline, at=stamp(now), **settled))


def reopened(tx: Connection, key: str) -> None:
    """Take back that a job's money was settled: it has not ended after all."""
    tx.execute(update(spending).where(spending.c.key == key).values(settled_at=None))


def release(tx: Connection, key: str) -> None:
    """Give back what was set aside for a job that was never made; what is settled stays so."""
    tx.execute(delete(spending).where(spending.c.key == key, spending.c.settled_at.is_(None)))


def get(tx: Connection, key: str) -> Entry | None:
    """Return what is known of a job's money, or None."""
    row = tx.execute(select(spending).where(spending.c.key == key)).mappings().first()
    return _entry(row) if row else None


def of_pipeline(tx: Connection, pipeline: str, month: datetime) -> list[Entry]:
    """Return a pipeline's jobs of a month, oldest first.

    Args:
        tx: A transaction.
        pipeline: The pipeline.
        month: Any time of it.
    """
    query = select(spending).where(spending.c.pipeline == pipeline, _within(month))
    return [_entry(row) for row in tx.execute(query.order_by(spending.c.at, spending.c.key)).mappings()]


def pipelines(tx: Connection, month: datetime) -> list[str]:
    """Return the pipelines that have jobs in a month, sorted."""
    query = select(spending.c.pipeline).where(_within(month)).distinct().order_by(spending.c.pipeline)
    return list(tx.execute(query).scalars())


def spent(tx: Connection, pipeline: str | None, month: datetime) -> Spent:
    """Return what the jobs of a month have cost and may cost yet.

    Args:
        tx: A transaction.
        pipeline: One pipeline, or None for all.
        month: Any time of it.
    """
    paid = spending.c.settled_at.is_not(None)
    usd = func.coalesce(func.sum(spending.c.usd).filter(paid), 0.0)
    aside = func.coalesce(func.sum(spending.c.usd).filter(~paid), 0.0)
    query = select(usd, aside, func.count(), func.count().filter(spending.c.usd.is_(None)))
    query = query.select_from(spending).where(_within(month))
    if pipeline is not None:
        query = query.where(spending.c.pipeline == pipeline)
    return Spent(*tx.execute(query).one())


def _within(month: datetime) -> ColumnElement[bool]:
    """Return the condition that money was set aside in the month, in UTC, of that time."""
    first = when(stamp(month)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return (spending.c.at >= stamp(first)) & (spending.c.at < stamp(after))


def _entry(row: RowMapping) -> Entry:
    settled_at = None if row["settled_at"] is None else when(row["settled_at"])
    return Entry(row["key"], row["pipeline"], row["usd"], when(row["at"]), settled_at)
