"""What is live, per pipeline, why it won, and why anything waits: from the state alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from retune.records import DriftReport, Release, Route, Verdict
from retune.serving.hosted import how_to_call, is_hosted
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state import drift, jobs, ledger, placements, releases, replicas, routes, specs
from retune.state.database import Database


@dataclass(frozen=True)
class PipelineStatus:
    """One pipeline's standing."""

    pipeline: str
    live: Release | None
    """The release with the largest part of the alias."""
    how: str
    """Empty, or by whom it was rolled back to."""
    since: datetime | None
    """When its route was put in force."""
    decision: str
    """What the gate said last, where it did not promote; empty otherwise."""
    drift: str
    """What the last look at the traffic said; empty where there was none."""
    waits: tuple[str, ...]
    """Why something wished for is not so yet; empty where all is at rest."""


def show_status(settings: Settings, console: Console) -> None:
    """Print the standing of every pipeline.

    Raises:
        StateError: The state cannot be read.
    """
    db = Database(settings.state_url)
    db.check()
    now = datetime.now(UTC)
    with db.read() as tx:
        rows = [pipeline_status(tx, pipeline, now) for pipeline in specs.pipelines(tx)]
    if not rows:
        console.print("No pipeline has run yet: start a `<pipeline>.tune` DAG, or `retune demo`.")
        return
    for row in rows:
        console.print(row.pipeline, style="bold", highlight=False)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column()
        for name, text in _lines(row):
            grid.add_row(f"  {name}", Text(text))
        console.print(grid)


def _lines(row: PipelineStatus) -> list[tuple[str, str]]:
    live = f"release {row.live.number}{row.how}" if row.live else "nothing"
    since = f", since {row.since:%Y-%m-%d %H:%M} UTC" if row.since else ""
    won = [("why it won", row.live.decision.reason)] if row.live else []
    return [
        ("live", live + since),
        *won,
        *([("last decision", row.decision)] if row.decision else []),
        ("drift", row.drift or "not looked at yet"),
        ("waits for", "\n".join(row.waits) or "nothing"),
    ]


def pipeline_status(tx: Connection, pipeline: str, now: datetime) -> PipelineStatus:
    """Return one pipeline's standing.

    Args:
        tx: A transaction on the state.
        pipeline: A pipeline that has frozen a spec.
        now: The time against which agents' reports are fresh or stale.
    """
    spec = specs.latest(tx, pipeline)
    assert spec is not None
    route = routes.get(tx, spec.deploy.alias)
    last = drift.last(tx, pipeline)
    back = _last_rollback(tx, pipeline, route)
    return PipelineStatus(
        pipeline=pipeline,
        live=releases.live(tx, pipeline),
        how=_rolled_back(back) if back else "",
        since=routes.live_since(tx, spec.deploy.alias),
        decision=_decision(tx, pipeline),
        drift=_drift(last) if last else "",
        waits=(
            *_training(tx, pipeline),
            *_release(tx, pipeline),
            *_serving(tx, spec, route, now),
        ),
    )


def _decision(tx: Connection, pipeline: str) -> str:
    decided = [entry for entry in ledger.entries(tx, pipeline) if entry.event == "decided"]
    if not decided or decided[-1].detail["verdict"] == Verdict.PROMOTE:
        return ""
    entry = decided[-1]
    return f"{entry.detail['verdict']} on {entry.at:%Y-%m-%d %H:%M} UTC: {entry.detail['reason']}"


def _drift(last: DriftReport) -> str:
    return f"{'moved' if last.drifted else 'quiet'} at release {last.release}: {last.reason}"


def _rolled_back(back: ledger.Entry) -> str:
    before = ", ".join(str(number) for number in back.detail["before"])
    return f", rolled back from {before} by {back.actor}"


def _training(tx: Connection, pipeline: str) -> list[str]:
    return [
        f"job {row.key.removeprefix('sha256:')[:12]} on {row.backend} ({row.status})"
        for row in jobs.unfinished(tx, pipeline)
    ]


def _last_rollback(tx: Connection, pipeline: str, route: Route | None) -> ledger.Entry | None:
    """Return the entry of the rollback that the route in force comes from, if it does."""
    for entry in reversed(ledger.entries(tx, pipeline)):
        if route and entry.detail.get("version") == route.version:
            return entry if entry.event == "rollback" else None
    return None


def _release(tx: Connection, pipeline: str) -> list[str]:
    if releases.newest(tx, pipeline) is None:
        return ["a first release: none has passed the gate"]
    waiting = releases.waiting(tx, pipeline)
    if waiting is None:
        return []
    return [how_to_call(waiting) if is_hosted(waiting) else f"release {waiting.number} to be deployed"]


def _serving(tx: Connection, spec: PipelineSpec, route: Route | None, now: datetime) -> list[str]:
    endpoint = spec.deploy.endpoint
    seen = replicas.live(tx, endpoint, now)
    wanted = placements.wanted(tx, endpoint, now)
    if not seen:
        wish = route is not None or bool(wanted)
        return [f"an agent of {endpoint!r}: none reported lately, run `retune serve`"] if wish else []
    waits = []
    for replica in seen:
        if not replica.healthy:
            waits.append(f"{replica.url} ({replica.agent}) to answer completions")
        for model in wanted:
            if model.digest in replica.failed:
                waits.append(f"{model.digest[:19]} on {replica.agent}: {replica.failed[model.digest]}")
            elif model.digest not in replica.ready:
                waits.append(f"{model.digest[:19]} to be loaded on {replica.agent}")
        if route and replica.gateway_url and replica.routes.get(route.alias) != route.version:
            waits.append(f"route version {route.version} on the gateway of {replica.agent}")
    return waits
