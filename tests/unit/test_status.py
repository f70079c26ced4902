from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from retune.artifacts import Artifacts
from retune.records import DriftReport
from retune.serving import rollout
from retune.settings import Settings
from retune.state import drift, jobs, replicas, specs
from retune.state.database import Database
from retune.state.replicas import ReplicaState
from retune.status import PipelineStatus, pipeline_status, show_status
from tests.unit.evaluation.builders import SPEC, blob
from tests.unit.serving.builders import stored_model, stored_release

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"project": str(tmp_path)}.get)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database(settings.state_url)
    database.migrate()
    yield database
    database.engine.dispose()


def status_of(db: Database, now: datetime = NOW) -> PipelineStatus:
    with db.read() as tx:
        return pipeline_status(tx, "tickets", now)


def deploy(db: Database, folder: Path, name: str, now: datetime = NOW) -> str:
    """Promote and deploy a new model; returns its digest."""
    model = stored_model(Artifacts((folder / "artifacts").as_uri()), folder / name)
    release = stored_release(db, model, f"run {name}", folder / "reports")
    rollout.deploy(release, SPEC, db=db, now=now)
    return model.digest


def report(db: Database, **seen: object) -> None:
    state = ReplicaState("agent", SPEC.deploy.endpoint, "http://h:1", "base", **seen)  # type: ignore[arg-type]
    with db.write() as tx:
        replicas.report(tx, state, NOW)


def test_before_the_first_release(db: Database) -> None:
    with db.write() as tx:
        specs.freeze(tx, SPEC, NOW)
        jobs.intend(tx, "sha256:" + "a" * 64, "tickets", "local", 1, {}, NOW)
    status = status_of(db)
    assert status.live is None and status.since is None
    assert status.waits == (
        "job aaaaaaaaaaaa on local (pending)",
        "a first release: none has passed the gate",
    )


def test_what_is_live_and_since_when(db: Database, tmp_path: Path) -> None:
    digest = deploy(db, tmp_path, "first")
    report(db, ready=(digest,), routes={"tickets": 1}, gateway_url="http://h:2")
    status = status_of(db)
    assert status.live and status.live.number == 1
    assert (status.since, status.waits, status.how) == (NOW, (), "")


def test_why_serving_waits(db: Database, tmp_path: Path) -> None:
    digest = deploy(db, tmp_path, "first")
    assert status_of(db).waits == ("an agent of 'vllm_default': none reported lately, run `retune serve`",)
    report(db, healthy=False, gateway_url="http://h:2")
    assert status_of(db).waits == (
        "http://h:1 (agent) to answer completions",
        f"{digest[:19]} to be loaded on agent",
        "route version 1 on the gateway of agent",
    )
    report(db, failed={digest: "rank too large"})
    assert status_of(db).waits == (f"{digest[:19]} on agent: rank too large",)
    assert "none reported lately" in status_of(db, NOW + timedelta(minutes=1)).waits[0]


def test_a_release_that_was_not_deployed_waits(db: Database, tmp_path: Path) -> None:
    stored_release(
        db, stored_model(Artifacts(tmp_path.as_uri()), tmp_path / "m"), "run", tmp_path / "reports"
    )
    assert status_of(db).waits == ("release 1 to be deployed",)


def test_after_a_rollback_it_says_who_and_nothing_waits(db: Database, tmp_path: Path) -> None:
    digests = [deploy(db, tmp_path, name) for name in ("first", "second")]
    later = NOW + timedelta(hours=1)
    rollout.rollback("tickets", "cli:eva", db=db, now=later)
    report(db, ready=tuple(digests), routes={"tickets": 3}, gateway_url="http://h:2")
    status = status_of(db)
    assert status.live and status.live.number == 1
    assert (status.how, status.since, status.waits) == (", rolled back from 2 by cli:eva", later, ())


def test_the_table_shows_it_all(db: Database, settings: Settings, tmp_path: Path) -> None:
    console = Console(record=True, width=250)
    show_status(settings, console)
    assert "No pipeline has run yet" in console.export_text()
    deploy(db, tmp_path, "first")
    moved = DriftReport(
        spec_digest=SPEC.digest, pipeline="tickets", release=1, drifted=True, reason="2 of 3 columns moved",
        columns=(), reference_rows=1, window_rows=1, window_start=NOW, window_end=NOW, report=blob("r"),
    )  # fmt: skip
    with db.write() as tx:
        drift.add(tx, moved, NOW)
    show_status(settings, console)
    text = console.export_text()
    for words in ("tickets", "release 1", "2026-11-01 12:00", "moved at release 1: 2 of 3", "an agent of"):
        assert words in text
