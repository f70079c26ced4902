"""`retune.cleanup`: a dry run says what would go, a run removes it, and its tasks say what went."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retune.state import placements
from tests.dags.conftest import House, dag_bag, states
from tests.unit.serving.builders import stored_model

WORDS = b"a page that nothing points at"


@pytest.fixture
def lost(house: House) -> Path:
    """An artifact that nothing points at, as if written long ago."""
    digest = house.artifacts.put_bytes(WORDS, "text/html").digest
    path = Path(house.artifacts.place(digest)[1])
    os.utime(path, (0, 0))
    return path


def clean(**conf: Any) -> Any:
    """Run the fleet's DAG as Airflow loads it."""
    return dag_bag().dags["retune.cleanup"].test(run_conf=conf or None)


def returned(run: Any, task: str) -> Any:
    """Return what a task of a run returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(XComModel).where(
        XComModel.run_id == run.run_id,
        XComModel.dag_id == run.dag_id,
        XComModel.task_id == task,
        XComModel.key == "return_value",
    )
    with create_session() as session:
        return XComModel.deserialize_value(session.scalars(query).one())


def test_a_dry_run_says_what_would_go_and_the_next_run_removes_it(
    lost: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    dry = clean(dry_run=True)
    assert states(dry) == {"mark_unused": "success", "sweep_unused": "skipped"}
    why = "nothing points at it"
    marked = [{"what": "artifacts", "count": 1, "bytes": len(WORDS), "why": why}]
    assert returned(dry, "mark_unused") == marked
    assert f"1 artifacts, {len(WORDS)} bytes: {why}" in caplog.text + "".join(capfd.readouterr())
    assert lost.exists()

    done = clean()
    assert states(done) == {"mark_unused": "success", "sweep_unused": "success"}
    assert (returned(done, "mark_unused"), returned(done, "sweep_unused")) == (marked, len(WORDS))
    assert f"artifacts: {len(WORDS)} bytes removed" in caplog.text + "".join(capfd.readouterr())
    assert not lost.exists()


def test_what_must_stay_and_is_damaged_makes_it_red_and_removes_nothing(house: House, lost: Path) -> None:
    model = stored_model(house.artifacts, house.project / "model")
    with house.db.write() as tx:
        placements.want(tx, "vllm_test", model, "release:x:1", None, datetime.now(UTC))
    Path(house.artifacts.place(model.digest)[1]).write_bytes(b"damaged")
    assert states(clean())["sweep_unused"] == "upstream_failed"
    assert lost.exists()
