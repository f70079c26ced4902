"""Drift reports, and which of them started a training."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from retune.records import DriftReport
from retune.state.database import stamp, when
from retune.state.tables import drift


def add(tx: Connection, report: DriftReport, now: datetime) -> int:
    """Store a report, which started no training yet, and return its number."""
    result = tx.execute(
        insert(drift).values(
            pipeline=report.pipeline, record=report.to_json(), triggered=False, at=stamp(now)
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def mark_triggered(tx: Connection, number: int) -> None:
    """Note that a report started a training: the cool-down counts from it."""
    tx.execute(update(drift).where(drift.c.id == number).values(triggered=True))


def last(tx: Connection, pipeline: str) -> DriftReport | None:
    """Return the pipeline's newest report, or None."""
    query = select(drift.c.record).where(drift.c.pipeline == pipeline).order_by(drift.c.id.desc())
    record = tx.execute(query.limit(1)).scalar()
    return None if record is None else DriftReport.from_json(record)


def last_trigger(tx: Connection, pipeline: str) -> datetime | None:
    """Return when drift last started a training, or None."""
    query = (
        select(drift.c.at)
        .where(drift.c.pipeline == pipeline, drift.c.triggered.is_(True))
        .order_by(drift.c.id.desc())
    )
    at = tx.execute(query.limit(1)).scalar()
    return None if at is None else when(at)
