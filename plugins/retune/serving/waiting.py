"""Waits until agents report that what was asked for serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from retune.errors import EndpointError
from retune.state import replicas, routes
from retune.state.database import Database
from retune.state.replicas import ReplicaState

_POLL_S = 0.25


def now_utc() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def wait_ready(
    model_digest: str,
    endpoint: str,
    *,
    db: Database,
    clock: Callable[[], datetime] = now_utc,
    timeout_s: float = 300.0,
) -> list[ReplicaState]:
    """Wait until every live replica of the endpoint answers with the model, and return them.

    Args:
        model_digest: The name under which the model is loaded.
        endpoint: The endpoint's name.
        db: The state.
        clock: Returns the time.
        timeout_s: Longest wait.

    Raises:
        EndpointError: An agent cannot serve the model, or time ran out; says what is missing.
    """

    def missing(live: list[ReplicaState]) -> str:
        for state in live:
            if model_digest in state.failed:
                raise EndpointError(
                    f"agent {state.agent!r} cannot serve {model_digest}: {state.failed[model_digest]}",
                    "mend the model or the endpoint, then run this task again",
                )
        return "; ".join(
            f"agent {state.agent!r} still loads {model_digest}"
            if state.healthy
            else f"agent {state.agent!r} says that its replica {state.url} does not answer"
            for state in live
            if model_digest not in state.ready
        )

    return _wait(endpoint, missing, db, clock, timeout_s)


def wait_routed(
    alias: str,
    version: int,
    endpoint: str,
    *,
    db: Database,
    clock: Callable[[], datetime] = now_utc,
    timeout_s: float = 300.0,
) -> list[ReplicaState]:
    """Wait until every gateway of the endpoint was seen to follow the route, and return the replicas.

    Args:
        alias: The route's alias.
        version: The version to wait for; a later one counts too.
        endpoint: The endpoint's name.
        db: The state.
        clock: Returns the time.
        timeout_s: Longest wait.

    Raises:
        EndpointError: A release cannot be served, or time ran out; says what is missing.
    """
    with db.read() as tx:
        route = routes.get(tx, alias)
    digests = {target.model_digest for target in route.targets} if route else set()

    def missing(live: list[ReplicaState]) -> str:
        gateways = [state for state in live if state.gateway_url]
        if not gateways:
            return f"no agent of endpoint {endpoint!r} runs a gateway"
        waiting = []
        for state in gateways:
            for digest in digests & state.failed.keys():
                raise EndpointError(
                    f"agent {state.agent!r} cannot serve {digest}: {state.failed[digest]}",
                    "the earlier route stays in force; mend the model, or run `retune rollback`",
                )
            seen = state.routes.get(alias, 0)
            if seen < version:
                health = "" if state.healthy else f", and its replica {state.url} does not answer"
                waiting.append(
                    f"the gateway of agent {state.agent!r} follows version {seen} of {alias!r}, "
                    f"not {version}{health}"
                )
        return "; ".join(waiting)

    return _wait(endpoint, missing, db, clock, timeout_s)


def _wait(
    endpoint: str,
    missing: Callable[[list[ReplicaState]], str],
    db: Database,
    clock: Callable[[], datetime],
    timeout_s: float,
) -> list[ReplicaState]:
    """Poll until nothing is missing; `missing` says in words what is."""
    deadline = clock() + timedelta(seconds=timeout_s)
    while True:
        with db.read() as tx:
            live = replicas.live(tx, endpoint, clock())
        what = missing(live) if live else f"no agent of endpoint {endpoint!r} is alive"
        if not what:
            return live
        if clock() >= deadline:
            raise EndpointError(
                f"after {timeout_s:.0f} s: {what}", "see `retune status` and the agent's log on its host"
            )
        time.sleep(_POLL_S)
