"""Placements: which models an endpoint should hold, and why. Agents make it so."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, or_, select

from retune.records import Model
from retune.state.database import stamp
from retune.state.tables import placements


def want(
    tx: Connection, endpoint: str, model: Model, purpose: str, until: datetime | None, now: datetime
) -> None:
    """Ask for a model at an endpoint; one model a purpose, a later wish replaces it.

    Args:
        tx: The transaction.
        endpoint: The endpoint's name.
        model: What to load.
        purpose: Why, such as `release:tickets:3`; `release` takes the wish back by it.
        until: When the wish ends by itself; None keeps it.
        now: The time.
    """
    release(tx, endpoint, purpose)
    tx.execute(
        insert(placements).values(
            endpoint=endpoint,
            purpose=purpose,
            model_digest=model.digest,
            model=model.to_json(),
            until=stamp(until) if until else None,
            at=stamp(now),
        )
    )


def release(tx: Connection, endpoint: str, purpose: str) -> None:
    """Take a wish back; nothing happens where there is none."""
    tx.execute(delete(placements).where(placements.c.endpoint == endpoint, placements.c.purpose == purpose))


def wanted(tx: Connection, endpoint: str, now: datetime) -> list[Model]:
    """Return the distinct models that the endpoint should hold, oldest wish first."""
    query = (
        select(placements.c.model)
        .where(placements.c.endpoint == endpoint)
        .where(or_(placements.c.until.is_(None), placements.c.until > stamp(now)))
        .order_by(placements.c.at)
    )
    models = [Model.from_json(model) for (model,) in tx.execute(query)]
    return list({model.digest: model for model in models}.values())


def purposes(tx: Connection, endpoint: str) -> dict[str, str]:
    """Return purpose -> model digest of the endpoint's wishes, oldest first."""
    query = (
        select(placements.c.purpose, placements.c.model_digest)
        .where(placements.c.endpoint == endpoint)
        .order_by(placements.c.at)
    )
    return {purpose: digest for purpose, digest in tx.execute(query)}
