"""Observed state: what each agent saw on its host."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from retune.state.database import stamp
from retune.state.tables import replicas


@dataclass(frozen=True)
class ReplicaState:
    """What an agent reports of its host."""

    agent: str
    endpoint: str
    url: str
    """The replica's base URL without `/v1`."""
    base_model: str
    healthy: bool = True
    """Whether the replica answers a real completion."""
    ready: tuple[str, ...] = ()
    """Digests that are loaded and were probed."""
    failed: dict[str, str] = field(default_factory=dict)
    """Digest -> why it cannot be loaded."""
    routes: dict[str, int] = field(default_factory=dict)
    """Alias -> version that this agent's gateway was seen to serve."""
    gateway_url: str = ""


def report(tx: Connection, state: ReplicaState, now: datetime) -> None:
    """Store what the agent sees now, with its heartbeat."""
    tx.execute(delete(replicas).where(replicas.c.agent == state.agent))
    tx.execute(
        insert(replicas).values(
            agent=state.agent, endpoint=state.endpoint, state=asdict(state), heartbeat=stamp(now)
        )
    )


def live(tx: Connection, endpoint: str, now: datetime, max_age_s: float = 15.0) -> list[ReplicaState]:
    """Return the endpoint's replicas whose agents reported lately, by agent name."""
    query = (
        select(replicas.c.state)
        .where(replicas.c.endpoint == endpoint)
        .where(replicas.c.heartbeat >= stamp(now - timedelta(seconds=max_age_s)))
        .order_by(replicas.c.agent)
    )
    return [ReplicaState(**{**state, "ready": tuple(state["ready"])}) for (state,) in tx.execute(query)]
