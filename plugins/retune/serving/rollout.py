"""Writes what should serve; `wait_ready` and `wait_routed` wait until agents report that it does."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from retune.errors import EndpointError
from retune.records import Model, Release, Route, Target
from retune.serving.waiting import wait_ready, wait_routed
from retune.spec import PipelineSpec
from retune.state import ledger, placements, releases, routes
from retune.state.database import Database

__all__ = ["deploy", "place", "rollback", "wait_ready", "wait_routed"]


def place(
    model: Model, endpoint: str, purpose: str, until: datetime | None, *, db: Database, now: datetime
) -> None:
    """Ask that an endpoint holds a model; agents load it under its digest.

    Args:
        model: What to load.
        endpoint: The endpoint's name.
        purpose: Why; a later wish of the same purpose replaces this one.
        until: When the wish ends by itself; None keeps it.
        db: The state.
        now: The time.
    """
    with db.write() as tx:
        placements.want(tx, endpoint, model, purpose, until, now)


def deploy(release: Release, spec: PipelineSpec, *, db: Database, now: datetime) -> Route:
    """Lead the pipeline's alias to a release, in one transaction, and return the route to wait for.

    The release that answers until then stays loaded, for a rollback; older ones are let go.
    Deploying what is live already changes nothing.

    Raises:
        EndpointError: The alias belongs to another pipeline, or a later release is live.
        ConflictError: Somebody else changed the route in the same moment.
    """
    alias, endpoint = spec.deploy.alias, spec.deploy.endpoint
    with db.write() as tx:
        current = routes.get(tx, alias)
        _check_order(current, release)
        placements.want(tx, endpoint, release.model, _purpose(release.pipeline, release.number), None, now)
        target = Target(release=release.number, model_digest=release.model.digest, weight=100)
        if current and (current.targets, current.endpoint) == ((target,), endpoint):
            return current
        keep = {release.number, *(target.release for target in (current.targets if current else ()))}
        for purpose in placements.purposes(tx, endpoint):
            pipeline, _, number = purpose.removeprefix("release:").rpartition(":")
            if purpose.startswith("release:") and pipeline == release.pipeline and int(number) not in keep:
                placements.release(tx, endpoint, purpose)
        return _lead(tx, release, alias, endpoint, "deploy", f"dag_run:{release.dag_run_id}", now)


def rollback(pipeline: str, actor: str, *, db: Database, now: datetime) -> Route:
    """Lead the pipeline's live alias back to the release that answered before, in one transaction.

    The release answers at the endpoint where it did before. Agents follow by themselves;
    `wait_routed` tells when. A second rollback goes one further back.

    Args:
        pipeline: The pipeline's name.
        actor: Who asks, for the ledger.
        db: The state.
        now: The time.

    Raises:
        EndpointError: There is no earlier release that answered.
    """
    with db.write() as tx:
        if releases.newest(tx, pipeline) is None:
            raise EndpointError(f"{pipeline} has no release", "run its tune DAG")
        # Not the newest spec: a release that is not live may have changed the alias or the endpoint.
        versions = routes.of_pipeline(tx, pipeline)
        found = routes.answered_before(versions)
        if found is None:
            live = routes.live_number(versions)
            raise EndpointError(
                f"{pipeline} has no release that answered before release {live}"
                if live
                else f"nothing of {pipeline} is live",
                "see `retune status`",
            )
        before, number = found
        release = releases.get(tx, pipeline, number)
        placements.want(tx, before.endpoint, release.model, _purpose(pipeline, number), None, now)
        return _lead(tx, release, versions[0].alias, before.endpoint, "rollback", actor, now)


def _lead(
    tx: Connection, release: Release, alias: str, endpoint: str, event: str, actor: str, now: datetime
) -> Route:
    """Put the route to one release and write it into the ledger."""
    current = routes.get(tx, alias)
    target = Target(release=release.number, model_digest=release.model.digest, weight=100)
    wish = Route(
        spec_digest=release.spec_digest,
        alias=alias,
        pipeline=release.pipeline,
        endpoint=endpoint,
        version=0,
        targets=(target,),
    )
    route = routes.put(tx, wish, current.version if current else 0, now)
    detail = {
        "alias": route.alias,
        "endpoint": route.endpoint,
        "version": route.version,
        "release": release.number,
        "model_digest": release.model.digest,
        "before": [t.release for t in current.targets] if current else [],
        "reason": release.decision.reason,
    }
    ledger.append(tx, release.pipeline, event, actor, detail, now)
    return route


def _check_order(current: Route | None, release: Release) -> None:
    if current is None:
        return
    if current.pipeline != release.pipeline:
        raise EndpointError(
            f"alias {current.alias!r} belongs to pipeline {current.pipeline!r}",
            f"give {release.pipeline!r} another deploy.alias",
        )
    if any(target.release > release.number for target in current.targets):
        raise EndpointError(
            f"a later release than {release.number} of {release.pipeline!r} is live",
            "to go back, run `retune rollback`",
        )


def _purpose(pipeline: str, number: int) -> str:
    return f"release:{pipeline}:{number}"
