"""Datasets by digest."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from retune.errors import StateError
from retune.records import Dataset
from retune.state.database import stamp
from retune.state.tables import datasets


def add(tx: Connection, dataset: Dataset, now: datetime) -> None:
    """Store a dataset; the same digest is stored once a pipeline, and again makes it the latest."""
    here = (datasets.c.digest == dataset.digest) & (datasets.c.pipeline == dataset.pipeline)
    if tx.execute(update(datasets).where(here).values(at=stamp(now))).rowcount == 0:
        tx.execute(
            insert(datasets).values(
                digest=dataset.digest,
                pipeline=dataset.pipeline,
                record=dataset.to_json(),
                at=stamp(now),
            )
        )


def get(tx: Connection, digest: str) -> Dataset:
    """Return a dataset; raises StateError where it is not known."""
    record = tx.execute(select(datasets.c.record).where(datasets.c.digest == digest)).scalar()
    if record is None:
        raise StateError(f"no dataset {digest}", "run the pipeline's tune DAG")
    return Dataset.from_json(record)


def latest(tx: Connection, pipeline: str) -> Dataset | None:
    """Return the pipeline's newest dataset, or None."""
    query = select(datasets.c.record).where(datasets.c.pipeline == pipeline).order_by(datasets.c.at.desc())
    record = tx.execute(query).scalar()
    return None if record is None else Dataset.from_json(record)
