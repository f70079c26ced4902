"""The state keeps what it was told, and refuses what would break its promises."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text, update

from retune.errors import ConflictError, StateError
from retune.evaluation.gate import decide
from retune.records import Job, JobStatus, Release, Route, Target, Verdict
from retune.state import (
    artifacts_index,
    jobs,
    ledger,
    placements,
    releases,
    replicas,
    routes,
    specs,
    splits,
    tables,
)
from retune.state.database import Database
from tests.unit.evaluation.builders import SPEC, blob, dataset, model, outcomes, report

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'state.db'}")
    database.migrate()
    yield database
    database.engine.dispose()


def test_migrations_make_the_tables_that_the_code_uses(db: Database) -> None:
    db.migrate()
    db.check()
    with db.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), tables.metadata) == []


def test_an_unmigrated_or_unreachable_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="retune migrate"):
        Database(f"sqlite:///{tmp_path / 'empty.db'}").check()
    assert not (tmp_path / "empty.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StateError, match="has no tables -> run `retune migrate`"):
        Database(f"sqlite:///{tmp_path / 'empty.db'}").check()
    with pytest.raises(StateError, match="failed"), Database(f"sqlite:///{tmp_path / 'no'}/x.db").read():
        pass


def test_a_secret_in_the_url_is_not_shown() -> None:
    assert "hunter2" not in str(Database("postgresql://retune:hunter2@db/retune"))


def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    with pytest.raises(RuntimeError), db.write() as tx:
        specs.freeze(tx, SPEC, NOW)
        raise RuntimeError
    with db.read() as tx:
        assert specs.latest(tx, "tickets") is None


def test_a_spec_is_frozen_once_and_read_back(db: Database) -> None:
    with db.write() as tx:
        assert specs.freeze(tx, SPEC, NOW) == specs.freeze(tx, SPEC, NOW) == SPEC.digest
    with db.read() as tx:
        assert specs.load(tx, SPEC.digest) == SPEC == specs.latest(tx, "tickets")
        with pytest.raises(StateError, match="no spec"):
            specs.load(tx, "sha256:none")


def test_a_row_never_changes_sides(db: Database) -> None:
    with db.write() as tx:
        splits.assign(tx, "tickets", {"a": "train", "b": "held_out"}, NOW)
    with pytest.raises(StateError, match="1 rows would change sides"), db.write() as tx:
        splits.assign(tx, "tickets", {"c": "train", "b": "train"}, NOW)
    with db.read() as tx:
        assert splits.assigned(tx, "tickets") == {"a": "train", "b": "held_out"}
        assert splits.assigned(tx, "other") == {}


def test_one_intent_a_key(db: Database) -> None:
    job = Job(spec_digest=SPEC.digest, key="k", backend="local", attempt=1, provider_id="7", url="")
    with db.write() as tx:
        first = jobs.intend(tx, "k", "tickets", "local", 1, {"a": 1}, NOW)
        jobs.submitted(tx, "k", job)
        again = jobs.intend(tx, "k", "tickets", "local", 1, {"a": 2}, NOW)
        assert first.status is JobStatus.PENDING
        assert (again.status, again.job, again.intent) == (JobStatus.RUNNING, job, {"a": 1})
        jobs.finished(tx, "k", JobStatus.SUCCEEDED, model(), "", NOW)
        found = jobs.get(tx, "k")
        assert found is not None and found.model == model()
        with pytest.raises(StateError, match="no job"):
            jobs.submitted(tx, "unknown", job)


def promoted(tmp_path: Path, good: bool = True) -> tuple[Release, dict[str, object]]:
    found = {"candidate": outcomes([good] * 100), "base": outcomes([False] * 100)}
    reports = {name: report(name, rows, tmp_path) for name, rows in found.items()}
    decision = decide(SPEC, dataset(100), reports, found, None, held_out_uses=1, leaked=0)
    values = {
        "pipeline": "tickets",
        "spec_digest": SPEC.digest,
        "model": model(),
        "dataset_digest": dataset(100).digest,
        "decision": decision,
    }
    return Release(**values, number=1, dag_run_id="run 1", created_at=NOW), values  # type: ignore[arg-type]


def test_releases_are_numbered_once_a_run(db: Database, tmp_path: Path) -> None:
    expected, values = promoted(tmp_path)
    with db.write() as tx:
        first = releases.create(tx, **values, dag_run_id="run 1", now=NOW)  # type: ignore[arg-type]
        again = releases.create(tx, **values, dag_run_id="run 1", now=NOW)  # type: ignore[arg-type]
        second = releases.create(tx, **values, dag_run_id="run 2", now=NOW)  # type: ignore[arg-type]
    assert first == again == expected
    assert second.number == 2
    with db.read() as tx:
        assert releases.get(tx, "tickets", 1) == expected
        assert releases.newest(tx, "tickets") == second
        with pytest.raises(StateError, match="no release 9"):
            releases.get(tx, "tickets", 9)


def test_what_the_gate_refused_is_never_released(db: Database, tmp_path: Path) -> None:
    _, values = promoted(tmp_path, good=False)
    assert values["decision"].verdict is not Verdict.PROMOTE  # type: ignore[attr-defined]
    with pytest.raises(StateError, match="nothing is released"), db.write() as tx:
        releases.create(tx, **values, dag_run_id="run 1", now=NOW)  # type: ignore[arg-type]


def a_route(release: int) -> Route:
    target = Target(release=release, model_digest=f"sha256:{release}", weight=100)
    return Route(
        spec_digest=SPEC.digest,
        alias="tickets",
        pipeline="tickets",
        endpoint="vllm",
        version=0,
        targets=(target,),
    )


def test_routes_change_by_compare_and_swap(db: Database) -> None:
    with db.write() as tx:
        assert routes.put(tx, a_route(1), 0, NOW).version == 1
        assert routes.put(tx, a_route(2), 1, NOW).version == 2
        with pytest.raises(ConflictError, match="at version 2, not 1"):
            routes.put(tx, a_route(3), 1, NOW)
        now_live = routes.get(tx, "tickets")
        before = routes.previous(tx, "tickets")
        assert now_live is not None and now_live.targets == a_route(2).targets
        assert before is not None and before.targets == a_route(1).targets
        assert routes.for_endpoint(tx, "vllm") == [now_live]
        assert routes.for_endpoint(tx, "another") == []


def test_wishes_end_and_are_taken_back(db: Database) -> None:
    with db.write() as tx:
        placements.want(tx, "vllm", model(), "evaluation:1", NOW + timedelta(minutes=1), NOW)
        placements.want(tx, "vllm", model(), "release:tickets:1", None, NOW)
        assert len(placements.wanted(tx, "vllm", NOW)) == 1
        placements.release(tx, "vllm", "release:tickets:1")
        assert placements.wanted(tx, "vllm", NOW) == [model()]
        assert placements.wanted(tx, "vllm", NOW + timedelta(minutes=2)) == []


def test_a_silent_agent_is_not_live(db: Database) -> None:
    state = replicas.ReplicaState("a", "vllm", "http://a", "base", ready=("x",), failed={"y": "broken"})
    with db.write() as tx:
        replicas.report(tx, state, NOW)
        replicas.report(tx, state, NOW + timedelta(seconds=5))
        assert replicas.live(tx, "vllm", NOW + timedelta(seconds=10)) == [state]
        assert replicas.live(tx, "vllm", NOW + timedelta(seconds=60)) == []


def test_an_artifact_is_served_for_its_own_pipeline_only(db: Database) -> None:
    with db.write() as tx:
        artifacts_index.add(tx, "tickets", "validation", blob("1"), NOW)
        artifacts_index.add(tx, "tickets", "validation", blob("1"), NOW)
        assert artifacts_index.find(tx, "tickets", blob("1").digest) == blob("1")
        assert artifacts_index.find(tx, "mails", blob("1").digest) is None


def test_the_ledger_shows_a_change_by_hand(db: Database) -> None:
    with db.write() as tx:
        for number in range(5):
            ledger.append(tx, "tickets", "deployed", "agent", {"release": number}, NOW)
        assert ledger.verify(tx) == 5
        assert [entry.detail["release"] for entry in ledger.entries(tx, "tickets")] == [0, 1, 2, 3, 4]
    with pytest.raises(StateError, match="ledger entry 3"), db.write() as tx:
        tx.execute(update(tables.ledger).where(tables.ledger.c.seq == 3).values(actor="nobody"))
        ledger.verify(tx)
    with pytest.raises(StateError, match="ledger entry 4"), db.write() as tx:
        tx.execute(text("delete from ledger where seq = 3"))
        ledger.verify(tx)


def _write_many(url: str, actor: str) -> None:
    database = Database(url)
    for number in range(20):
        with database.write() as tx:
            ledger.append(tx, "tickets", "noted", actor, {"number": number}, NOW)


def test_processes_that_write_at_once_lose_nothing(db: Database) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(db.url, f"writer {n}")) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with db.read() as tx:
        assert ledger.verify(tx) == 60
