"""Which release answers, and which waits to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from retune.state import artifacts_index, releases, routes, specs
from retune.state.database import Database
from tests.unit.evaluation.builders import SPEC, blob
from tests.unit.state.test_state import NOW, a_route, db, promoted

__all__ = ["db"]


def test_a_release_waits_until_it_was_live_and_not_again_after_a_rollback(
    db: Database,  # noqa: F811
    tmp_path: Path,
) -> None:
    _, values = promoted(tmp_path)
    with db.write() as tx:
        specs.freeze(tx, SPEC, NOW)
        assert releases.live(tx, "tickets") is None
        assert releases.waiting(tx, "tickets") is None
        first = releases.create(tx, **values, dag_run_id="run 1", now=NOW)  # type: ignore[arg-type]
        assert releases.waiting(tx, "tickets") == first
        routes.put(tx, a_route(1), 0, NOW)
        assert releases.live(tx, "tickets") == first
        assert releases.waiting(tx, "tickets") is None
        second = releases.create(tx, **values, dag_run_id="run 2", now=NOW)  # type: ignore[arg-type]
        assert releases.waiting(tx, "tickets") == second
        routes.put(tx, a_route(2), 1, NOW)
        routes.put(tx, a_route(1), 2, NOW)
        assert releases.live(tx, "tickets") == first
        assert releases.waiting(tx, "tickets") is None


def test_what_a_pipeline_serves_is_found_under_whatever_alias(
    db: Database,  # noqa: F811
    tmp_path: Path,
) -> None:
    _, values = promoted(tmp_path)
    old, other = a_route(1), a_route(7).model_copy(update={"alias": "other", "pipeline": "other"})
    with db.write() as tx:
        first = releases.create(tx, **values, dag_run_id="run 1", now=NOW)  # type: ignore[arg-type]
        routes.put(tx, old.model_copy(update={"alias": "old-name"}), 0, NOW)
        routes.put(tx, other, 0, NOW + timedelta(seconds=1))
        assert releases.live(tx, "tickets") == first
        second = releases.create(tx, **values, dag_run_id="run 2", now=NOW)  # type: ignore[arg-type]
        routes.put(tx, a_route(2), 0, NOW + timedelta(seconds=2))
        assert releases.live(tx, "tickets") == second


def test_the_newest_page_of_a_kind_is_found(db: Database) -> None:  # noqa: F811
    with db.write() as tx:
        artifacts_index.add(tx, "tickets", "validation", blob("old"), NOW)
        artifacts_index.add(tx, "tickets", "validation", blob("new"), NOW + timedelta(seconds=5))
        artifacts_index.add(tx, "tickets", "evaluation", blob("other"), NOW + timedelta(seconds=9))
        assert artifacts_index.newest(tx, "tickets", "validation", NOW) == blob("new")
        later = NOW + timedelta(seconds=6)
        assert artifacts_index.newest(tx, "tickets", "validation", later) is None
