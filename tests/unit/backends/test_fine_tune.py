"""The operator and its trigger place a job, wait for it elsewhere, and leave or cancel it as they should."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from retune.airflow.operators.fine_tune import FineTune
from retune.airflow.triggers.job import JobTrigger
from retune.backends.base import JobLostError, TransientError, View
from retune.backends.stopping import cancel_stored
from retune.errors import BackendError
from retune.records import JobStatus
from retune.spec import PipelineSpec
from retune.state import specs
from tests.unit.backends.provider import RUNNING, SUCCEEDED, BilledBackend, Run, provider
from tests.unit.backends.service import job_of, service


@dataclass
class TaskInstance:
    """What the operator asks of Airflow's."""

    state: str = "running"
    dag_id: str = "tiny.tune"
    task_id: str = "fine_tune"
    run_id: str = "run"
    map_index: int = 0

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: {self.task_id: self.state}}

    def xcom_push(self, **_: Any) -> None: ...


def carried(deferred: TaskDeferred) -> dict[str, Any]:
    """Return the event of a trigger that says to look at the job."""
    return {**deferred.trigger.carried, "error": ""}  # type: ignore[attr-defined]


@dataclass
class House:
    """The operator and its trigger in this project, with a provider where jobs are waited for elsewhere."""

    run: Run
    spec: str

    def task(self) -> tuple[FineTune, Any]:
        context = {
            "ti": TaskInstance(),
            "params": {},
            "dag_run": SimpleNamespace(run_after=datetime.now(UTC)),
        }
        op = FineTune(
            task_id="fine_tune",
            pipeline="tiny",
            spec=self.spec,
            dataset=self.run.dataset.to_json(),
            recipe=self.run.recipe.to_json(),
        )
        return op, context

    def place(self, op: FineTune, context: Any) -> TaskDeferred:
        provider.answers = [RUNNING]
        with pytest.raises(TaskDeferred) as deferred:
            op.execute(context)
        return deferred.value


@pytest.fixture
def house(run: Run, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(BilledBackend, "waits_here", False)
    settings = run.bench.settings
    monkeypatch.setenv("RETUNE_PROJECT", str(settings.project))
    monkeypatch.setenv("RETUNE_HOME", str(settings.home))
    monkeypatch.setenv("RETUNE_MLFLOW_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    spec = PipelineSpec.model_validate(
        {
            "version": 1,
            "pipeline": "tiny",
            "data": {"sources": ["rows.jsonl"], "columns": {"prompt": "text", "completion": "queue"}},
            "recipes": [{"backend": "billed", "base_model": "small"}],
            "evaluation": {"endpoint": "vllm"},
            "deploy": {"endpoint": "vllm", "alias": "tiny"},
        }
    )
    with run.bench.db.write() as tx:
        return House(run, specs.freeze(tx, spec, datetime.now(UTC)))


def test_many_triggers_that_start_at_once_share_one_poller(house: House) -> None:
    service.views = {}
    triggers = [JobTrigger(job_of(str(number)).to_json(), time.time() + 20, False) for number in range(20)]

    async def story() -> None:
        waits = [asyncio.create_task(anext(aiter(trigger.run()))) for trigger in triggers]
        deadline = time.monotonic() + 10
        while max(map(len, service.looks), default=0) < len(triggers):
            assert time.monotonic() < deadline, "no look asked for all jobs"
            await asyncio.sleep(0.001)
        service.views = {str(number): SUCCEEDED for number in range(20)}
        await asyncio.gather(*waits)

    asyncio.run(story())


def test_an_outage_that_outlasts_the_triggers_patience_is_left_to_airflows_retries(house: House) -> None:
    """The job goes on; the next try adopts it."""
    service.failures = [TransientError("503") for _ in range(30)]
    op, context = house.task()
    deferred = house.place(op, context)

    async def fires() -> Any:
        return await anext(aiter(JobTrigger(job_of("a").to_json(), time.time() + 20, False).run()))

    event = asyncio.run(fires())
    with pytest.raises(Exception, match="503") as failure:
        op.waited(context, carried(deferred) | event.payload)
    assert not isinstance(failure.value, AirflowFailException)


def test_a_trigger_wakes_the_task_of_a_trainer_that_died(house: House) -> None:
    service.views = {"a": JobLostError("was killed")}

    async def fires() -> Any:
        return await anext(aiter(JobTrigger(job_of("a").to_json(), time.time() + 20, False).run()))

    assert asyncio.run(fires()).payload["error"] == ""


def test_a_trainer_that_died_elsewhere_is_started_again_and_waited_for(house: House) -> None:
    op, context = house.task()
    deferred = house.place(op, context)
    provider.answers = [JobLostError("was killed"), RUNNING]
    with pytest.raises(TaskDeferred):
        op.waited(context, carried(deferred))
    assert provider.posts == 2


def test_a_trainer_that_dies_each_time_elsewhere_is_an_error_in_the_end(house: House) -> None:
    op, context = house.task()
    deferred = house.place(op, context)
    provider.answers = [JobLostError("was killed")]

    def wait_again(deferred: TaskDeferred) -> None:
        for _ in range(10):
            try:
                op.waited(context, carried(deferred))
            except TaskDeferred as again:
                deferred = again

    with pytest.raises(BackendError, match=r"was killed \(4 times\)"):
        wait_again(deferred)


def test_a_job_that_a_person_cancelled_while_its_task_waited_is_not_made_again(house: House) -> None:
    """`retune jobs cancel`: Airflow's retry would pay for another one."""
    op, context = house.task()
    deferred = house.place(op, context)
    [key] = provider.jobs.values()
    assert cancel_stored(key, op.site)
    with pytest.raises(AirflowFailException, match="cancelled"):
        op.waited(context, carried(deferred))


def test_a_job_that_a_person_cancelled_on_the_worker_is_not_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BilledBackend, "waits_here", True)
    provider.answers = [View(JobStatus.CANCELLED, "cancelled")]
    op, context = house.task()
    with pytest.raises(AirflowFailException, match="cancelled"):
        op.execute(context)


def test_a_job_whose_cleared_task_came_back_before_the_cancel_is_made_again(house: House) -> None:
    op, context = house.task()
    deferred = house.place(op, context)
    [key] = provider.jobs.values()

    async def clear() -> None:
        await JobTrigger(job_of(key).to_json(), time.time() + 20, True).on_kill()

    asyncio.run(clear())
    with pytest.raises(BackendError, match="cancelled") as failure:
        op.waited(context, carried(deferred))
    assert not isinstance(failure.value, AirflowFailException)


@pytest.mark.parametrize("state", ["up_for_retry", "scheduled", "queued", "deferred"])
def test_a_process_that_airflow_took_for_dead_leaves_its_job_to_the_next_try(
    house: House, state: str
) -> None:
    op, context = house.task()
    house.place(op, context)
    op._running = *op._given(context), context
    context["ti"].state = state
    with pytest.raises(AirflowException, match="the next try adopts it"):
        op.on_kill()
    assert provider.cancelled == []


@pytest.mark.parametrize("state", ["restarting", "failed", "success"])
def test_a_task_that_somebody_cleared_or_marked_cancels_its_job(house: House, state: str) -> None:
    op, context = house.task()
    house.place(op, context)
    op._running = *op._given(context), context
    context["ti"].state = state
    op.on_kill()
    assert provider.cancelled == ["job-1"]
