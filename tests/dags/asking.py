"""A DAG of a test's own in which a task asks a person."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tests.dags.conftest import House, dag_bag
from tests.dags.test_artifact_pages import bearer
from tests.unit.serving.builders import until

Answer = Callable[[str], None]
"""Called with the run's id once it waits."""


@dataclass
class Asking:
    """A DAG of which one task asks."""

    house: House
    client: TestClient
    folder: Path
    dag_id: str
    task_id: str

    @property
    def file(self) -> Path:
        """The DAG's file."""
        return self.folder / f"{self.dag_id}.py"

    def run(self, text: str, answer: Answer | None = None) -> Any:
        """Run a DAG file's DAG to its end, and return the DagRun."""
        self.file.write_text(text)
        runner = threading.get_ident()
        waiting = threading.Thread(target=self._answer, args=(answer, runner)) if answer else None
        if waiting:
            waiting.start()
        run = dag_bag().dags[self.dag_id].test()
        if waiting:
            waiting.join(timeout=60)
        return run

    def path(self, run_id: str) -> str:
        """Return the address of the question in Airflow's API."""
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{run_id}/taskInstances/{self.task_id}/-1/hitlDetails"

    def question(self, run_id: str) -> dict[str, Any]:
        """Return Airflow's record of the question; empty where nobody was asked."""
        found = self.client.get(self.path(run_id), headers=bearer("ADMIN"))
        return dict(found.json()) if found.status_code == 200 else {}

    def click(self, option: str) -> Answer:
        """Return an answer: a person who clicks that button."""

        def answer(run_id: str) -> None:
            found = self.client.patch(
                self.path(run_id), headers=bearer("ADMIN"), json={"chosen_options": [option]}
            )
            assert found.status_code == 200, found.text

        return answer

    def clear(self, run_id: str, tasks: list[str]) -> None:
        """Clear tasks of a run, as a person does."""
        path = f"/api/v2/dags/{self.dag_id}/clearTaskInstances"
        asked = {"dry_run": False, "dag_run_id": run_id, "task_ids": tasks, "only_failed": False}
        found = self.client.post(path, headers=bearer("ADMIN"), json=asked)
        assert found.status_code == 200, found.text

    def state(self, run_id: str) -> str:
        """Return the state of the task that asks."""
        path = f"/api/v2/dags/{self.dag_id}/dagRuns/{run_id}/taskInstances/{self.task_id}"
        return str(self.client.get(path, headers=bearer("ADMIN")).json()["state"])

    def nobody(self, run_id: str) -> None:
        """Answer nothing: let Airflow's scheduler sweep over what waits until the time is up."""
        from airflow.jobs.job import Job
        from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

        scheduler = SchedulerJobRunner(job=Job())

        def swept() -> bool:
            scheduler.check_awaiting_input_timeouts()
            return not _waiting(self.dag_id)

        until(swept, "the time-out answers", timeout_s=60)

    def _answer(self, answer: Answer, runner: int) -> None:
        # While `dag.test()` is still about the task it writes the state that it knows over an answer.
        until(
            lambda: bool(_waiting(self.dag_id)) and not _is_in("_run_task", runner),
            "the run waits for an answer",
            timeout_s=120,
        )
        try:
            answer(_waiting(self.dag_id)[0])
        except BaseException:
            _give_up(self.dag_id)
            raise


@contextmanager
def asking(house: House, client: TestClient, name: str, task_id: str) -> Iterator[Asking]:
    """Give a test a DAG of its own; its file goes with the test.

    Args:
        house: Whose pipeline.
        client: Airflow's API.
        name: The DAG's name after the pipeline's.
        task_id: The task that asks.
    """
    from airflow.configuration import conf

    folder = Path(conf.get("core", "dags_folder"))
    found = Asking(house, client, folder, f"{house.pipeline}.{name}", task_id)
    try:
        yield found
    finally:
        found.file.unlink(missing_ok=True)


def returned(run: Any, task: str) -> Any:
    """Return what a task of a run returned; None where it returned nothing."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(run_id=run.run_id, key="return_value", task_ids=task, dag_ids=run.dag_id)
        row = session.scalars(query.with_only_columns(XComModel)).first()
        return XComModel.deserialize_value(row) if row else None


def _is_in(function: str, thread: int) -> bool:
    """Say whether a thread is inside a function."""
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


def _waiting(dag_id: str) -> list[str]:
    """Return the ids of the DAG's runs that wait for a person."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(TaskInstance.run_id).where(
        TaskInstance.dag_id == dag_id, TaskInstance.state == "awaiting_input"
    )
    with create_session() as session:
        return list(session.scalars(query))


def _give_up(dag_id: str) -> None:
    """Fail what waits: `dag.test()` would wait for ever."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    waiting = (TaskInstance.dag_id == dag_id) & (TaskInstance.state == "awaiting_input")
    with create_session() as session:
        session.execute(update(TaskInstance).where(waiting).values(state="failed"))
