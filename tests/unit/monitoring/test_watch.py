"""The watch end to end on real state, store and files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import fsspec
import pytest

from retune.artifacts import Artifacts
from retune.monitoring.watch import Watched, watch
from retune.records import Release
from retune.settings import Settings
from retune.state import artifacts_index, drift, ledger
from retune.state.database import Database
from retune.testing.tickets import tickets
from retune.text.traffic import dump, exchange_path
from tests.unit.monitoring.builders import NOW, SPEC, Pair, judged_on, traffic


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    options = {"project": str(tmp_path)}
    return Settings.load(options.get)


@pytest.fixture
def db(settings: Settings) -> Database:
    database = Database(settings.state_url)
    database.migrate()
    return database


def capture(settings: Settings, pairs: list[Pair]) -> None:
    path = exchange_path(SPEC.pipeline, NOW, "host", int(NOW.timestamp()) * 10**9)
    files, root = fsspec.url_to_fs(settings.captured_url)
    files.makedirs(f"{root}/{path.rsplit('/', 1)[0]}")
    files.pipe_file(f"{root}/{path}", dump(traffic(pairs)))


def look(release: Release, settings: Settings, db: Database, hours: float = 0) -> Watched:
    return watch(
        SPEC,
        release,
        settings=settings,
        db=db,
        artifacts=Artifacts(settings.artifacts_url),
        now=NOW + timedelta(hours=hours),
        report=lambda line: None,
    )


def judged(settings: Settings) -> Release:
    pairs = [(row["text"], row["queue"]) for row in tickets(200, 7)]
    return judged_on(pairs, Artifacts(settings.artifacts_url))


def test_drift_is_written_down_and_triggers_once_a_cooldown(settings: Settings, db: Database) -> None:
    capture(settings, [(row["text"], "technical") for row in tickets(150, 23, moved=True)])
    release = judged(settings)
    lost = look(release, settings, db)
    with db.read() as tx:
        assert drift.last_trigger(tx, SPEC.pipeline) is None
    first = look(release, settings, db)
    assert lost.retrain and first.retrain  # nothing was started yet, so there is no cool-down
    with db.write() as tx:
        drift.mark_triggered(tx, first.number)
    second = look(release, settings, db, hours=1)
    assert first.report.window_rows == 150
    assert (second.report.drifted, second.retrain) == (True, False)
    assert "cooldown" in second.reason
    with db.read() as tx:
        assert drift.last(tx, SPEC.pipeline) == second.report
        assert drift.last_trigger(tx, SPEC.pipeline) == NOW
        page = artifacts_index.find(tx, SPEC.pipeline, first.report.report.digest)
        assert page == first.report.report
        entries = ledger.entries(tx, SPEC.pipeline)
        assert ledger.verify(tx) == 3
    assert [entry.detail["retrain"] for entry in entries] == [True, True, False]
    assert entries[1].detail["page"] == first.report.report.digest


def test_a_look_without_traffic_is_kept_and_says_so(settings: Settings, db: Database) -> None:
    watched = look(judged(settings), settings, db)
    assert (watched.retrain, watched.reason) == (False, "no drift: only 0 of 100 requests since release 3")
    with db.read() as tx:
        assert drift.last(tx, SPEC.pipeline) == watched.report
        assert drift.last_trigger(tx, SPEC.pipeline) is None
        assert ledger.entries(tx, SPEC.pipeline) == []
