"""Releases: immutable, numbered winners."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from retune.errors import StateError
from retune.records import Decision, Model, Release, Verdict
from retune.state import routes, specs
from retune.state.database import stamp
from retune.state.tables import releases


def create(
    tx: Connection,
    pipeline: str,
    spec_digest: str,
    model: Model,
    dataset_digest: str,
    decision: Decision,
    dag_run_id: str,
    now: datetime,
) -> Release:
    """Number a winner; the same run makes one release, however often it asks.

    Raises:
        StateError: The gate did not promote it.
    """
    if decision.verdict is not Verdict.PROMOTE:
        raise StateError(f"the gate said {decision.verdict}: {decision.reason}", "nothing is released")
    query = select(releases.c.record).where(
        releases.c.pipeline == pipeline, releases.c.dag_run_id == dag_run_id
    )
    known = tx.execute(query).scalar()
    if known is not None:
        return Release.from_json(known)
    last = tx.execute(select(func.max(releases.c.number)).where(releases.c.pipeline == pipeline)).scalar()
    release = Release(
        spec_digest=spec_digest,
        pipeline=pipeline,
        number=(last or 0) + 1,
        model=model,
        dataset_digest=dataset_digest,
        decision=decision,
        dag_run_id=dag_run_id,
        created_at=now,
    )
    tx.execute(
        insert(releases).values(
            pipeline=pipeline,
            number=release.number,
            model_digest=model.digest,
            dag_run_id=dag_run_id,
            record=release.to_json(),
            at=stamp(now),
        )
    )
    return release


def get(tx: Connection, pipeline: str, number: int) -> Release:
    """Return a release; raises StateError where there is none of that number."""
    query = select(releases.c.record).where(releases.c.pipeline == pipeline, releases.c.number == number)
    record = tx.execute(query).scalar()
    if record is None:
        raise StateError(f"{pipeline} has no release {number}", "see `retune status`")
    return Release.from_json(record)


def list_all(tx: Connection, pipeline: str) -> list[Release]:
    """Return the pipeline's releases, oldest first."""
    query = select(releases.c.record).where(releases.c.pipeline == pipeline).order_by(releases.c.number)
    return [Release.from_json(record) for (record,) in tx.execute(query)]


def newest(tx: Connection, pipeline: str) -> Release | None:
    """Return the release with the highest number, or None."""
    found = list_all(tx, pipeline)
    return found[-1] if found else None


def live(tx: Connection, pipeline: str) -> Release | None:
    """Return the release that answers most of the pipeline's requests, or None.

    The route counts, not the alias in the spec: a renamed alias leads nowhere until the next
    rollout, while the old one still serves.
    """
    route = routes.newest(tx, pipeline)
    if route is None or not route.targets:
        return None
    most = max(route.targets, key=lambda target: target.weight)
    return get(tx, pipeline, most.release)


def previous(tx: Connection, pipeline: str) -> Release | None:
    """Return the release that answered before the one that is live, or None."""
    before = routes.answered_before(routes.of_pipeline(tx, pipeline))
    return get(tx, pipeline, before[1]) if before else None


def waiting(tx: Connection, pipeline: str) -> Release | None:
    """Return the newest release if its alias never led to it, or None: one rolled back does not wait."""
    release = newest(tx, pipeline)
    if release is None:
        return None
    alias = specs.load(tx, release.spec_digest).deploy.alias
    been_live = {target.release for route in routes.history(tx, alias) for target in route.targets}
    return None if release.number in been_live else release
