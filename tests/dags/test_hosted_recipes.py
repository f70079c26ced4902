"""Recipes of a service beside local ones, in one run: deferred, adopted, refused alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from retune.airflow.links import JobPage
from retune.records import JobStatus
from retune.state import jobs, releases, spending
from retune.testing.emulators.process import Running, running
from tests.dags.conftest import House, states
from tests.dags.test_runs import all_releases, now, shown
from tests.unit.serving.builders import until

KEY = "sk-canary-of-the-dags"
RECIPE = "  - {backend: openai, base_model: gpt-4.1-mini-2025-04-14, epochs: 2}\n"
PRICES = """\
version: 1
backends:
  127.0.0.1:
    models:
      gpt-4.1-mini: {training: {sft: 5}, as_of: 2026-11-26, source: this test}
"""


@dataclass
class Shop:
    """A released pipeline, and a service that trains for it."""

    house: House
    emulator: Running

    def with_recipes(self, *recipes: str) -> None:
        text = self.house.file.read_text()
        self.house.file.write_text(text.replace("evaluation:", "".join(recipes) + "evaluation:", 1))

    def tune(self) -> tuple[object, dict[str, str]]:
        """Run the tune DAG without Airflow's retries; return the run and its tasks' states."""
        self.house.start_agent()
        dag = self.house.dag("tune")
        for task in dag.tasks:
            if task.is_mapped:
                task.partial_kwargs["retries"] = 0
        run = dag.test()
        return run, states(run)


@pytest.fixture
def shop(released: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with running("openai", tmp_path / "emulator", phase_s=0.1, list_lag_s=0.2, api_key=KEY) as emulator:
        connection = {"conn_type": "openai", "host": f"{emulator.url}/v1", "password": KEY}
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
        (released.project / "include" / "prices.yaml").write_text(PRICES)
        yield Shop(released, emulator)
        assert not emulator.problems()


def end_once_deferred(shop: Shop, task_id: str) -> None:
    """Let the service end its jobs once a task has left its worker."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(TaskInstance.task_id).where(
        TaskInstance.dag_id == f"{shop.house.pipeline}.tune", TaskInstance.task_id == task_id
    )

    def deferred() -> bool:
        with create_session() as session:
            return session.scalars(query.where(TaskInstance.state == "deferred")).first() is not None

    until(deferred, "the task is deferred", timeout_s=300)
    shop.emulator.set_options(phase_s=0.1)


def test_a_job_of_a_service_is_waited_for_by_the_triggerer_and_competes(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.emulator.set_options(phase_s={"validating": 0.1, "queued": 0.1, "running": 1e6})
    shop.with_recipes(RECIPE)
    ending = threading.Thread(target=end_once_deferred, args=(shop, "fine_tune_hosted"))
    ending.start()
    run, found = shop.tune()
    ending.join()
    assert "Pausing task as DEFERRED" in capfd.readouterr().out
    assert [found["fine_tune[0]"], found["fine_tune_hosted[0]"]] == ["success", "success"]
    assert found["choose_candidate"] == found["decide"] == "success"
    [job] = shop.emulator.jobs()
    assert job["survives"] and job["billed"]
    assert shown(run, "fine_tune_hosted", JobPage()).endswith(job["id"])
    with shop.house.db.read() as tx:
        rows = [row for row, _ in jobs.list_all(tx) if row.backend == "openai"]
        month = spending.spent(tx, shop.house.pipeline, now())
    assert [row.status for row in rows] == [JobStatus.SUCCEEDED]
    assert rows[0].model is not None and rows[0].model.served_as.startswith("ft:")
    assert month.reserved == 0 and month.settled == pytest.approx(rows[0].model.cost_usd)
    # The local model of the first run knows the answers, the emulator's canned ones are wrong.
    assert all_releases(shop.house)[-1].model.kind == "adapter"


def test_the_same_recipe_again_is_the_same_job(shop: Shop) -> None:
    shop.with_recipes(RECIPE)
    shop.tune()
    shop.tune()
    assert len(shop.emulator.jobs()) == 1


def test_a_recipe_that_the_service_refuses_stops_no_other(shop: Shop) -> None:
    shop.with_recipes(RECIPE.replace("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini-2024-01-01"), RECIPE)
    _, found = shop.tune()
    assert [found[f"fine_tune_hosted[{index}]"] for index in range(2)] == ["failed", "success"]
    assert found["choose_candidate"] == found["decide"] == "success"
    assert len(shop.emulator.jobs()) == 1


def test_a_job_that_fails_at_the_service_says_why_and_is_not_submitted_again(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.emulator.set_faults(
        [{"on": "POST /v1/fine_tuning/jobs", "do": "fail_job", "error": {"message": "the rows are odd"}}]
    )
    shop.with_recipes(RECIPE)
    _, found = shop.tune()
    assert (found["fine_tune_hosted[0]"], found["decide"]) == ("failed", "success")
    assert "the rows are odd" in capfd.readouterr().out
    assert len(shop.emulator.jobs()) == 1


def test_more_than_the_budget_of_a_run_is_refused_before_anything_is_placed(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.with_recipes(RECIPE)
    budget = "budget: {per_run_usd: 0.0001}\nevaluation:"
    shop.house.file.write_text(shop.house.file.read_text().replace("evaluation:", budget, 1))
    _, found = shop.tune()
    assert found["approve_cost"] == "failed" and found["choose_candidate"] == "upstream_failed"
    assert "more than the 0.0001 USD of budget.per_run_usd" in capfd.readouterr().out
    assert shop.emulator.jobs() == []
    with shop.house.db.read() as tx:
        assert releases.live(tx, shop.house.pipeline) is None


def test_a_sweep_is_a_job_for_every_combination(shop: Shop) -> None:
    shop.with_recipes(RECIPE.replace("epochs: 2", "grid: {epochs: [1, 2], batch_size: [4, 8]}"))
    _, found = shop.tune()
    assert [found[f"fine_tune_hosted[{index}]"] for index in range(4)] == ["success"] * 4
    assert len(shop.emulator.jobs()) == 4
