"""Frozen specs by digest."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from retune.errors import StateError
from retune.spec import PipelineSpec
from retune.state.database import stamp
from retune.state.tables import specs


def freeze(tx: Connection, spec: PipelineSpec, now: datetime) -> str:
    """Store the spec and return its digest; freezing it again makes it the latest."""
    again = update(specs).where(specs.c.digest == spec.digest).values(at=stamp(now))
    if tx.execute(again).rowcount == 0:
        tx.execute(
            insert(specs).values(
                digest=spec.digest, pipeline=spec.pipeline, body=spec.to_json(), at=stamp(now)
            )
        )
    return spec.digest


def load(tx: Connection, digest: str) -> PipelineSpec:
    """Return a frozen spec; raises StateError where it is not known."""
    body = tx.execute(select(specs.c.body).where(specs.c.digest == digest)).scalar()
    if body is None:
        raise StateError(f"no spec {digest} is frozen", "run the pipeline's tune DAG from its first task")
    return PipelineSpec.from_json(body)


def latest(tx: Connection, pipeline: str) -> PipelineSpec | None:
    """Return the spec that was frozen last, or None."""
    query = select(specs.c.body).where(specs.c.pipeline == pipeline).order_by(specs.c.at.desc())
    body = tx.execute(query).scalar()
    return None if body is None else PipelineSpec.from_json(body)


def pipelines(tx: Connection) -> list[str]:
    """Return the names of all pipelines that ever froze a spec, sorted."""
    return list(tx.execute(select(specs.c.pipeline).distinct().order_by(specs.c.pipeline)).scalars())
