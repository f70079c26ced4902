"""Which artifacts belong to which pipeline: what its pages may serve."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from retune.records import Artifact
from retune.state.database import stamp
from retune.state.tables import artifacts


def add(tx: Connection, pipeline: str, kind: str, artifact: Artifact, now: datetime) -> None:
    """Note that an artifact belongs to a pipeline; noting it twice changes nothing."""
    if find(tx, pipeline, artifact.digest) is None:
        tx.execute(
            insert(artifacts).values(
                pipeline=pipeline,
                digest=artifact.digest,
                kind=kind,
                record=artifact.model_dump(mode="json"),
                at=stamp(now),
            )
        )


def find(tx: Connection, pipeline: str, digest: str) -> Artifact | None:
    """Return the pipeline's artifact of that digest, or None."""
    query = select(artifacts.c.record).where(artifacts.c.pipeline == pipeline, artifacts.c.digest == digest)
    record = tx.execute(query).scalar()
    return None if record is None else Artifact.model_validate(record)


def newest(tx: Connection, pipeline: str, kind: str, since: datetime) -> Artifact | None:
    """Return the pipeline's newest artifact of that kind, noted at or after `since`, or None."""
    query = (
        select(artifacts.c.record)
        .where(artifacts.c.pipeline == pipeline, artifacts.c.kind == kind, artifacts.c.at >= stamp(since))
        .order_by(artifacts.c.at.desc())
    )
    record = tx.execute(query.limit(1)).scalar()
    return None if record is None else Artifact.model_validate(record)
