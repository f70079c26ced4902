"""Drift reports, and which of them started a training."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from retune.records import DriftReport
from retune.state.database import stamp, when
from retune.state.tables import drift


def add(tx: Connection, report: DriftReport, triggered: bool, now: datetime) -> int:
    """Store a report and return its number."""
    result = tx.execute(
        insert(drift).values(
            pipeline=report.pipeline, record=report.to_json(), triggered=triggered, at=stamp(now)
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


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
