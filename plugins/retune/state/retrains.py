"""Models that were trained on a forgotten person's rows, and the trainings that must follow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from retune.state import releases
from retune.state.database import stamp, when
from retune.state.tables import retrain_wanted, tainted_datasets

ERASURE = "erasure of a subject"
"""Why a training is wanted that follows an erasure."""


@dataclass(frozen=True)
class Wish:
    """A training that must happen whatever drift says."""

    reason: str
    at: datetime
    raised_at: datetime | None
    """When its event was last raised; None for never."""


def taint(tx: Connection, pipeline: str, dataset_digest: str, now: datetime) -> None:
    """Note that whatever was trained on a dataset has seen a forgotten person's rows."""
    if not is_tainted(tx, dataset_digest, pipeline):
        tx.execute(
            insert(tainted_datasets).values(pipeline=pipeline, dataset_digest=dataset_digest, at=stamp(now))
        )


def is_tainted(tx: Connection, dataset_digest: str, pipeline: str | None = None) -> bool:
    """Say whether training on a dataset has seen a forgotten person's rows."""
    query = select(tainted_datasets).where(tainted_datasets.c.dataset_digest == dataset_digest)
    if pipeline is not None:
        query = query.where(tainted_datasets.c.pipeline == pipeline)
    return tx.execute(query).first() is not None


def want(tx: Connection, pipeline: str, reason: str, now: datetime) -> None:
    """Ask for a training; a later wish replaces an earlier one."""
    values = {"reason": reason, "at": stamp(now), "raised_at": None, "done_at": None}
    here = retrain_wanted.c.pipeline == pipeline
    if tx.execute(update(retrain_wanted).where(here).values(**values)).rowcount == 0:
        tx.execute(insert(retrain_wanted).values(pipeline=pipeline, **values))


def wanted(tx: Connection, pipeline: str) -> Wish | None:
    """Return the training that the pipeline owes, or None."""
    here = (retrain_wanted.c.pipeline == pipeline) & retrain_wanted.c.done_at.is_(None)
    row = tx.execute(select(retrain_wanted).where(here)).first()
    if row is None:
        return None
    return Wish(row.reason, when(row.at), None if row.raised_at is None else when(row.raised_at))


def raised(tx: Connection, pipeline: str, now: datetime) -> None:
    """Note that an event was raised which starts a training."""
    here = (retrain_wanted.c.pipeline == pipeline) & retrain_wanted.c.done_at.is_(None)
    tx.execute(update(retrain_wanted).where(here).values(raised_at=stamp(now)))


def owed(tx: Connection, pipeline: str, now: datetime) -> Wish | None:
    """Return the training that the live release's own makes necessary, or None.

    A model that has seen a forgotten person's rows owes one for as long as it is live, also after a
    rollback to it; the wish is closed once a release trained without them is live.
    """
    release = releases.live(tx, pipeline)
    if release is None:
        return None
    wish = wanted(tx, pipeline)
    if is_tainted(tx, release.dataset_digest, pipeline):
        if wish is None:
            want(tx, pipeline, ERASURE, now)
        return wanted(tx, pipeline)
    if wish is not None:
        here = retrain_wanted.c.pipeline == pipeline
        tx.execute(update(retrain_wanted).where(here).values(done_at=stamp(now)))
    return None
