"""Routes: alias -> releases, with every earlier version kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from retune.errors import ConflictError
from retune.records import Route
from retune.state.database import stamp, when
from retune.state.tables import routes


def get(tx: Connection, alias: str) -> Route | None:
    """Return the alias's route in force, or None."""
    query = select(routes.c.record).where(routes.c.alias == alias).order_by(routes.c.version.desc())
    record = tx.execute(query.limit(1)).scalar()
    return None if record is None else Route.from_json(record)


def put(tx: Connection, route: Route, expected_version: int, now: datetime) -> Route:
    """Replace the route by compare-and-swap.

    Args:
        tx: The transaction.
        route: The new route; its `version` is set here.
        expected_version: The version in force that the caller saw; 0 where there was none.
        now: The time.

    Returns:
        The stored route, of version `expected_version + 1`.

    Raises:
        ConflictError: Another route is in force.
    """
    found = get(tx, route.alias)
    version = found.version if found else 0
    stored = route.model_copy(update={"version": expected_version + 1})
    conflict = ConflictError(
        f"route {route.alias!r} is at version {version}, not {expected_version}",
        "read it again and decide anew",
    )
    if version != expected_version:
        raise conflict
    try:
        tx.execute(
            insert(routes).values(
                alias=route.alias,
                version=stored.version,
                endpoint=route.endpoint,
                record=stored.to_json(),
                at=stamp(now),
            )
        )
    except IntegrityError:
        raise conflict from None
    return stored


def for_endpoint(tx: Connection, endpoint: str) -> list[Route]:
    """Return the routes in force that lead to the endpoint, by alias."""
    return [route for route in _in_force(tx, routes.c.alias) if route.endpoint == endpoint]


def newest(tx: Connection, pipeline: str) -> Route | None:
    """Return the route in force of the pipeline that was written last, under whatever alias, or None."""
    return next((route for route in _in_force(tx, routes.c.at.desc()) if route.pipeline == pipeline), None)


def _in_force(tx: Connection, order: ColumnElement[Any]) -> list[Route]:
    last = select(routes.c.alias, func.max(routes.c.version).label("version")).group_by(routes.c.alias)
    latest = last.subquery()
    same = (routes.c.alias == latest.c.alias) & (routes.c.version == latest.c.version)
    query = select(routes.c.record).join(latest, same).order_by(order)
    return [Route.from_json(record) for (record,) in tx.execute(query)]


def history(tx: Connection, alias: str) -> list[Route]:
    """Return every version of the route, newest first."""
    query = select(routes.c.record).where(routes.c.alias == alias).order_by(routes.c.version.desc())
    return [Route.from_json(record) for (record,) in tx.execute(query)]


def of_pipeline(tx: Connection, pipeline: str) -> list[Route]:
    """Return every version of every route of a pipeline, newest first, whatever its alias was then."""
    query = (
        select(routes.c.record)
        .where(routes.c.record["pipeline"].as_string() == pipeline)
        .order_by(routes.c.at.desc(), routes.c.version.desc())
    )
    return [Route.from_json(record) for (record,) in tx.execute(query)]


def live_since(tx: Connection, alias: str) -> datetime | None:
    """Return when the targets in force were first put in force, or None."""
    query = select(routes.c.record, routes.c.at).where(routes.c.alias == alias)
    rows = list(tx.execute(query.order_by(routes.c.version.desc())))
    since = None
    for record, at in rows:
        if record["targets"] != rows[0].record["targets"]:
            break
        since = when(at)
    return since


def previous(tx: Connection, alias: str) -> Route | None:
    """Return the newest earlier route with other targets than the one in force, or None."""
    versions = history(tx, alias)
    return next((route for route in versions[1:] if route.targets != versions[0].targets), None)


def answered_before(versions: Sequence[Route]) -> tuple[Route, int] | None:
    """Return the route and the release that answered before the one that is live; None where none did.

    Args:
        versions: A pipeline's routes, newest first, as `of_pipeline` returns them.
    """
    live = live_number(versions)
    earlier = ((route, t.release) for route in versions[1:] for t in route.targets if t.release < live)
    return next(earlier, None)


def live_number(versions: Sequence[Route]) -> int:
    """Return the release that is live by a pipeline's routes, newest first; 0 where none is."""
    return min((target.release for target in versions[0].targets), default=0) if versions else 0
