"""Ways in which a job was lost, paid twice or cancelled wrongly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from retune.airflow.operators.fine_tune import FineTune
from retune.airflow.triggers.job import JobTrigger
from retune.backends import patience
from retune.backends.base import (
    InDoubtError,
    Installation,
    JobGoneError,
    JobLostError,
    Order,
    Sighting,
    TransientError,
    View,
)
from retune.backends.costs import estimate_costs
from retune.backends.jobs import (
    Site,
    Underway,
    begin,
    cancel_job,
    cancel_stored,
    look,
    run_job,
    settle,
)
from retune.backends.polling import AccountPoller
from retune.backends.posting import place_order
from retune.errors import ArtifactError, BackendError, RetuneError
from retune.records import Job, JobStatus
from retune.spec import PipelineSpec
from retune.state import jobs, specs, spending
from tests.unit.backends import test_jobs as billed
from tests.unit.backends import test_polling as together
from tests.unit.backends.test_jobs import RUNNING, SUCCEEDED, BilledBackend, Run, make_job, wait_until
from tests.unit.backends.test_jobs import bench as bench
from tests.unit.backends.test_jobs import run as run
from tests.unit.backends.test_polling import job as job_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_S", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_S", 0.002)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs run where nobody waits for them in the task."""
    monkeypatch.setattr(BilledBackend, "waits_here", False)


def started(run: Run, **wanted: Any) -> Underway:
    found = begin(run.recipe, run.dataset, run.bench.site(run.lines.append), **wanted)
    assert isinstance(found, Underway)
    return found


def money(run: Run) -> spending.Spent:
    with run.bench.db.read() as tx:
        return spending.spent(tx, "tiny", datetime.now(UTC))


def row_of(run: Run, attempt: int = 1) -> jobs.JobRow:
    row = run.row(attempt)
    assert row is not None
    return row


# --- jobs that nobody gets rid of -----------------------------------------------------------------


def test_a_vanished_job_that_is_waited_for_elsewhere_has_failed(run: Run) -> None:
    underway = started(run)
    billed.provider.answers = [JobGoneError("404")]
    site = run.bench.site(run.lines.append)
    view = look(underway, site)
    assert view.status is JobStatus.FAILED
    with pytest.raises(BackendError, match="no longer knows job job-1"):
        settle(underway, view, site)
    assert row_of(run).status is JobStatus.FAILED


def test_a_vanished_job_can_be_cancelled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    underway = started(run)

    def cancel(self: BilledBackend, job: Job) -> None:
        raise JobGoneError("404")

    monkeypatch.setattr(BilledBackend, "cancel", cancel)
    assert cancel_stored(underway.job.key, run.bench.site())
    assert row_of(run).status is JobStatus.CANCELLED


# --- cancelling -----------------------------------------------------------------------------------


def cancel_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As providers do: to cancel a job that has ended changes nothing."""
    monkeypatch.setattr(BilledBackend, "cancel", lambda self, job: None)


@pytest.mark.parametrize("by", ["stored", "recipe"])
def test_a_job_that_had_succeeded_when_it_was_cancelled_is_not_paid_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    underway = started(run)
    billed.provider.answers = [SUCCEEDED]
    cancel_late(monkeypatch)
    site = run.bench.site()
    if by == "stored":
        cancel_stored(underway.job.key, site)
    else:
        cancel_job(run.recipe, run.dataset, site)
    run()
    assert len(billed.provider.jobs) == 1


def test_an_orphan_that_had_succeeded_when_its_task_was_cleared_is_not_paid_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    billed.provider.submits = [billed.crash]
    with pytest.raises(KeyboardInterrupt):
        run()
    found = BilledBackend.find

    def ended(self: BilledBackend, order: Order) -> list[Sighting]:
        return [replace(one, status=JobStatus.SUCCEEDED) for one in found(self, order)]

    monkeypatch.setattr(BilledBackend, "find", ended)
    cancel_late(monkeypatch)
    billed.provider.answers = [SUCCEEDED]
    cancel_job(run.recipe, run.dataset, run.bench.site())
    run()
    assert len(billed.provider.jobs) == 1


def test_who_was_cancelled_before_he_posted_posts_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow runs `on_kill` in the task's own process, which then goes on for up to five seconds."""
    submit = BilledBackend.submit

    def uploading(self: BilledBackend, order: Order, posting: Callable[[], None]) -> Job:
        cancel_job(run.recipe, run.dataset, run.bench.site())  # what on_kill does amid the upload
        return submit(self, order, posting)

    monkeypatch.setattr(BilledBackend, "submit", uploading)
    with pytest.raises(RetuneError):
        run()
    assert billed.provider.jobs == {}
    assert row_of(run).status is JobStatus.CANCELLED


def test_who_was_cancelled_while_he_looked_posts_no_more(run: Run) -> None:
    billed.provider.refusals = [InDoubtError("the connection broke")]

    def report(line: str) -> None:
        if "looking whether" in line:
            cancel_job(run.recipe, run.dataset, run.bench.site())

    with pytest.raises(RetuneError):
        run_job(run.recipe, run.dataset, run.bench.site(report))
    assert billed.provider.jobs == {}


def test_a_request_under_way_when_its_task_was_cleared_makes_no_second_job(run: Run) -> None:
    """The list shows the first job only after the next try has looked for it."""
    billed.provider.submits = [billed.crash]
    with pytest.raises(KeyboardInterrupt):
        run()
    billed.provider.lag = 2  # the one who cancels does not see it yet, and the next try's first look neither
    assert cancel_job(run.recipe, run.dataset, run.bench.site())
    run()
    assert len(billed.provider.bill()) == 1


def test_two_who_find_twins_at_different_moments_keep_the_same_one(run: Run) -> None:
    underway = started(run)
    order, backend = underway.order, underway.backend
    make_job(order)
    with run.bench.db.write() as tx:  # as if nobody had stored a handle yet
        tx.exec_driver_sql("update jobs set job = null, status = 'pending'")

    def sighted(**status: JobStatus) -> Any:
        def find(order: Order) -> list[Sighting]:
            names = (name for name in billed.provider.jobs if name not in billed.provider.cancelled)
            return [
                Sighting(backend.handle(order, name), status[name.replace("-", "_")], float(number))  # type: ignore[attr-defined]
                for number, name in enumerate(names)
            ]

        return find

    seen_first, looked = threading.Event(), threading.Event()
    first, second = BilledBackend(run.bench.installation, {}), BilledBackend(run.bench.installation, {})
    early = sighted(job_1=JobStatus.PENDING, job_2=JobStatus.PENDING)(order)
    late = sighted(job_1=JobStatus.PENDING, job_2=JobStatus.RUNNING)(order)

    def find_early(order: Order) -> list[Sighting]:
        seen_first.set()
        assert looked.wait(10)
        return early

    def find_late(order: Order) -> list[Sighting]:
        assert seen_first.wait(10)
        looked.set()
        return late

    first.find, second.find = find_early, find_late  # type: ignore[method-assign]
    db, clock = run.bench.db, lambda: datetime.now(UTC)
    one = threading.Thread(target=place_order, args=(order, first, db, clock, run.lines.append))
    one.start()
    place_order(order, second, db, clock, run.lines.append)
    one.join(10)
    assert len(billed.provider.bill()) == 1
    stored = row_of(run).job
    assert stored is not None and stored.provider_id not in billed.provider.cancelled


def test_only_a_look_that_begins_after_the_wait_lets_another_request_go(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow list: what it shows is as old as the question."""
    settles = BilledBackend.settles_within_s
    begun, find = time.monotonic(), BilledBackend.find

    def slowly(self: BilledBackend, order: Order) -> list[Sighting]:
        shown = time.monotonic() - begun > 0.8 * settles
        found = find(self, order)
        time.sleep(0.6 * settles)
        return found if shown else []

    def lose() -> None:
        nonlocal begun
        begun = time.monotonic()
        monkeypatch.setattr(BilledBackend, "find", slowly)
        raise InDoubtError("the connection broke")

    billed.provider.submits = [lose]
    run()
    assert (billed.provider.posts, len(billed.provider.jobs)) == (1, 1)


# --- clocks ---------------------------------------------------------------------------------------


def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_a_request_may_be_late(run: Run) -> None:
    billed.provider.refusals = [KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        run()
    day_before = lambda: datetime.now(UTC) - timedelta(days=1)  # noqa: E731
    site = Site(run.bench.installation, run.bench.db, run.lines.append, day_before)
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(begin(run.recipe, run.dataset, site)), daemon=True)
    thread.start()
    thread.join(10 * BilledBackend.settles_within_s)
    assert done


# --- money ----------------------------------------------------------------------------------------


def test_money_for_a_job_that_was_refused_before_it_was_posted_is_given_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(self: BilledBackend, order: Order, posting: Callable[[], None]) -> Job:
        raise BackendError("the file was refused", "mend line 3")

    monkeypatch.setattr(BilledBackend, "submit", submit)
    with pytest.raises(BackendError, match="mend line 3"):
        run()
    assert money(run).total == 0


def test_money_for_rows_that_are_no_longer_stored_is_given_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(self: BilledBackend, order: Order, posting: Callable[[], None]) -> Job:
        raise ArtifactError("the rows are gone")

    monkeypatch.setattr(BilledBackend, "submit", submit)
    with pytest.raises(RetuneError):
        run()
    assert money(run).total == 0


def test_a_job_cancelled_before_it_was_posted_is_not_booked_as_paid(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(self: BilledBackend, order: Order, posting: Callable[[], None]) -> Job:
        raise KeyboardInterrupt

    monkeypatch.setattr(BilledBackend, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert money(run).reserved == 1.5
    cancel_job(run.recipe, run.dataset, run.bench.site())
    assert money(run).total == 0


def test_an_order_that_was_never_posted_is_estimated_again(run: Run) -> None:
    billed.provider.refusals = [BackendError("no quota is left", "add credit")]
    with pytest.raises(BackendError, match="no quota"):
        run()
    [cost] = estimate_costs([run.recipe], run.dataset, run.bench.site())
    assert cost["usd"] == 1.5


# --- which attempt counts ---------------------------------------------------------------------------


def test_what_a_forced_run_made_is_what_the_next_run_takes(run: Run) -> None:
    run()
    forced_at = datetime.now(UTC) + timedelta(milliseconds=1)
    wait_until(forced_at)
    forced = run(forced_at=forced_at)
    assert run().job_key == forced.job_key


def test_a_job_is_looked_at_in_the_place_where_it_was_made(run: Run) -> None:
    """Another connection of the same account, or another GPU box: their jobs' key is the same."""
    run.recipe = run.recipe.model_copy(update={"place": {"connection": "one"}})
    begun: list[str] = []
    made, handle = BilledBackend.__init__, BilledBackend.handle

    def note(self: Any, installation: Installation, place: Any) -> None:
        begun.append(dict(place).get("connection", ""))
        self.place = dict(place)
        made(self, installation, place)

    def placed(self: Any, order: Order, name: str) -> Job:
        return handle(self, order, name).model_copy(update={"place": {"connection": "one"}})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BilledBackend, "__init__", note)
        patch.setattr(BilledBackend, "handle", placed)
        started(run)
        run.recipe = run.recipe.model_copy(update={"place": {"connection": "two"}})
        underway = started(run)
        assert underway.job.place == {"connection": "one"}
        assert underway.backend.place == {"connection": "one"}  # type: ignore[attr-defined]


# --- as Airflow runs it -----------------------------------------------------------------------------


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
        billed.provider.answers = [RUNNING]
        with pytest.raises(TaskDeferred) as deferred:
            op.execute(context)
        return deferred.value


@pytest.fixture
def house(run: Run, elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(together, "service", together.Service())
    (tmp_path / "site" / "billed-1.0.dist-info" / "entry_points.txt").write_text(
        f"[retune.backends]\nbilled = {billed.__name__}:BilledBackend\n"
        f"together = {together.__name__}:TogetherBackend\n"
    )
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


# --- waiting for many -------------------------------------------------------------------------------


class OneBroken:
    """A backend asked job by job, of which one answer cannot be read."""

    name = "single"
    poll_every_s = 0.001
    settles_within_s = 0.02
    account = "org"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def poll(self, job: Job) -> View:
        if job.key == "broken":
            raise self.error
        return SUCCEEDED


def test_one_job_with_a_defect_ends_no_other_wait() -> None:
    poller = AccountPoller(OneBroken(KeyError("status")))  # type: ignore[arg-type]

    async def story() -> list[Any]:
        waits = (poller.wait(job_of(key)) for key in ("broken", "good"))
        return list(await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 30))

    broken, good = asyncio.run(story())
    assert isinstance(broken, BackendError)
    assert good == SUCCEEDED


def test_many_triggers_that_start_at_once_share_one_poller(house: House) -> None:
    together.service.views = {}
    triggers = [JobTrigger(job_of(str(number)).to_json(), time.time() + 20, False) for number in range(20)]

    async def story() -> None:
        waits = [asyncio.create_task(anext(aiter(trigger.run()))) for trigger in triggers]
        deadline = time.monotonic() + 10
        while max(map(len, together.service.looks), default=0) < len(triggers):
            assert time.monotonic() < deadline, "no look asked for all jobs"
            await asyncio.sleep(0.001)
        together.service.views = {str(number): SUCCEEDED for number in range(20)}
        await asyncio.gather(*waits)

    asyncio.run(story())


def test_an_outage_that_outlasts_the_triggers_patience_is_left_to_airflows_retries(house: House) -> None:
    """The job goes on; the next try adopts it."""
    together.service.failures = [TransientError("503") for _ in range(30)]
    op, context = house.task()
    deferred = house.place(op, context)

    async def fires() -> Any:
        return await anext(aiter(JobTrigger(job_of("a").to_json(), time.time() + 20, False).run()))

    event = asyncio.run(fires())
    with pytest.raises(Exception, match="503") as failure:
        op.waited(context, carried(deferred) | event.payload)
    assert not isinstance(failure.value, AirflowFailException)


def test_a_trainer_that_died_elsewhere_is_started_again_and_waited_for(house: House) -> None:
    op, context = house.task()
    deferred = house.place(op, context)
    billed.provider.answers = [JobLostError("was killed"), RUNNING]
    with pytest.raises(TaskDeferred):
        op.waited(context, carried(deferred))
    assert billed.provider.posts == 2


def test_a_trainer_that_dies_each_time_elsewhere_is_an_error_in_the_end(house: House) -> None:
    op, context = house.task()
    deferred = house.place(op, context)
    billed.provider.answers = [JobLostError("was killed")]

    def wait_again(deferred: TaskDeferred) -> None:
        for _ in range(10):
            try:
                op.waited(context, carried(deferred))
            except TaskDeferred as again:
                deferred = again

    with pytest.raises(BackendError, match=r"was killed \(4 times\)"):
        wait_again(deferred)


def test_a_trigger_wakes_the_task_of_a_trainer_that_died(house: House) -> None:
    together.service.views = {"a": JobLostError("was killed")}

    async def fires() -> Any:
        return await anext(aiter(JobTrigger(job_of("a").to_json(), time.time() + 20, False).run()))

    assert asyncio.run(fires()).payload["error"] == ""


def test_a_job_that_a_person_cancelled_while_its_task_waited_is_not_made_again(house: House) -> None:
    """`retune jobs cancel`: Airflow's retry would pay for another one."""
    op, context = house.task()
    deferred = house.place(op, context)
    [key] = billed.provider.jobs.values()
    assert cancel_stored(key, op.site)
    with pytest.raises(AirflowFailException, match="cancelled"):
        op.waited(context, carried(deferred))


def test_a_job_whose_cleared_task_came_back_before_the_cancel_is_made_again(house: House) -> None:
    op, context = house.task()
    deferred = house.place(op, context)
    [key] = billed.provider.jobs.values()

    async def clear() -> None:
        await JobTrigger(job_of(key).to_json(), time.time() + 20, True).on_kill()

    asyncio.run(clear())
    with pytest.raises(BackendError, match="cancelled") as failure:
        op.waited(context, carried(deferred))
    assert not isinstance(failure.value, AirflowFailException)


def test_a_job_that_a_person_cancelled_on_the_worker_is_not_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BilledBackend, "waits_here", True)
    billed.provider.answers = [View(JobStatus.CANCELLED, "cancelled")]
    op, context = house.task()
    with pytest.raises(AirflowFailException, match="cancelled"):
        op.execute(context)


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
    assert billed.provider.cancelled == []


@pytest.mark.parametrize("state", ["restarting", "failed", "success"])
def test_a_task_that_somebody_cleared_or_marked_cancels_its_job(house: House, state: str) -> None:
    op, context = house.task()
    house.place(op, context)
    op._running = *op._given(context), context
    context["ti"].state = state
    op.on_kill()
    assert billed.provider.cancelled == ["job-1"]
