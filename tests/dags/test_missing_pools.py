"""A run whose pool is missing says so in its first task, and goes on once the pool is there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dags.conftest import House, states

NOTE = "retune_missing_pools"


@pytest.fixture
def without_pool() -> Iterator[None]:
    """Take the pool away for a while."""
    from airflow.models.pool import Pool

    Pool.delete_pool("retune_gpu")
    yield
    make_pool()


def make_pool() -> None:
    from airflow.models.pool import Pool

    Pool.create_or_update_pool("retune_gpu", 1, "", include_deferred=False)


def started(house: House, run_id: str) -> dict[str, Any]:
    """Queue the run anew, let Airflow's own scheduler start it, and return the run's conf."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
        run.state = "queued"
        session.flush()
        SchedulerJobRunner(job=Job())._start_queued_dagruns(session)
        assert run.state == "running"
        run.state = "failed"
        return dict(run.conf or {})


def queued(house: House, verb: str = "tune") -> str:
    """Store the pipeline's DAGs in Airflow and queue a run of one."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from pendulum import now
    from sqlalchemy import update

    bundles = DagBundlesManager()
    bundles.sync_bundles_to_db()
    [bundle] = bundles.get_all_dag_bundles()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, bundle.version)
    dag = SerializedDagModel.get_dag(f"{house.pipeline}.{verb}")
    assert dag is not None
    with create_session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id == dag.dag_id).values(is_paused=False))
    run = dag.create_dagrun(
        run_id=f"run-{uuid.uuid4()}",
        logical_date=None,
        data_interval=None,
        run_after=now("UTC").subtract(minutes=1),
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state="queued",
    )
    return str(run.run_id)


def test_the_scheduler_notes_a_missing_pool_until_it_is_there(house: House, without_pool: None) -> None:
    run_id = queued(house)
    assert started(house, run_id) == {NOTE: ["retune_gpu"]}
    assert started(house, run_id) == {NOTE: ["retune_gpu"]}
    make_pool()
    assert started(house, run_id) == {}


def test_dags_that_need_no_such_pool_are_not_noted(house: House, without_pool: None) -> None:
    assert started(house, queued(house, "watch")) == {}


def test_a_noted_run_fails_at_its_first_task(house: House) -> None:
    run = house.run("tune", **{NOTE: ["retune_gpu"]})
    found = states(run)
    assert found.pop("freeze_spec") == "failed"
    assert set(found.values()) == {"upstream_failed"}
