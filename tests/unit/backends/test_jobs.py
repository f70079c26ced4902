"""A job runs exactly once, whatever happens between the intent and the model."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retune.artifacts import digest_of
from retune.backends.attempts import MOST_FAILURES, job_key
from retune.backends.base import (
    Curves,
    Estimate,
    InDoubtError,
    Installation,
    JobGoneError,
    JobLostError,
    Order,
    Point,
    Sighting,
    Trained,
    TransientError,
    View,
)
from retune.backends.jobs import cancel_job, run_job
from retune.errors import BackendError, StateError
from retune.records import Dataset, Job, JobStatus, Model, Recipe
from retune.state import jobs
from retune.state.database import Database
from tests.tuning import Bench, make_bench

RUNNING = View(JobStatus.RUNNING)
POINTS = (Point(5, 1.0, {"loss": 2.0}), Point(10, 2.0, {"loss": 1.0}), Point(10, 2.1, {"eval_loss": 1.5}))
SUCCEEDED = View(JobStatus.SUCCEEDED, seconds=2.5)
FAILED = View(JobStatus.FAILED, error="the disk is full -> free space")


def crash() -> None:
    raise KeyboardInterrupt


@dataclass
class Provider:
    """A provider that bills for every job it makes and does what it is told."""

    answers: list[View | BaseException] = field(default_factory=lambda: [RUNNING, SUCCEEDED])
    """What polls bring, in order; the last one stays."""
    submits: list[Callable[[], None]] = field(default_factory=list)
    """What happens at each submit after the job was made; nothing where none is left."""
    refusals: list[Exception] = field(default_factory=list)
    """What the first submits bring instead of a job."""
    jobs: dict[str, str] = field(default_factory=dict)
    """Provider's id -> key."""
    lag: int = 0
    """How many looks a new job is missing from the list."""
    cancelled: list[str] = field(default_factory=list)
    """Provider's ids."""
    posts: int = 0

    def bill(self) -> list[str]:
        """The keys of the jobs that were made and not cancelled."""
        return [key for name, key in self.jobs.items() if name not in self.cancelled]


provider = Provider()


class BilledBackend:
    """What a third party's package would bring."""

    name = "billed"
    account = "org-1"
    poll_every_s = 0.0
    waits_here = True
    settles_within_s = 0.3

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        self.artifacts = installation.artifacts

    def validate(self, order: Order) -> None:
        if order.recipe.hyperparameters["epochs"] > 50:
            raise BackendError("epochs is 51", "choose 50 or fewer")

    def estimate(self, order: Order) -> Estimate:
        return Estimate(1.5, "a flat price")

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        posting()
        provider.posts += 1
        if provider.refusals:
            raise provider.refusals.pop(0)
        return make_job(order)

    def find(self, order: Order) -> list[Sighting]:
        found = [name for name, key in provider.jobs.items() if key == order.key]
        if found and provider.lag > 0:
            provider.lag -= 1
            return []
        ended = JobStatus.CANCELLED
        return [
            Sighting(
                self.handle(order, name), ended if name in provider.cancelled else JobStatus.RUNNING, 1.0
            )
            for name in found
        ]

    def poll(self, job: Job) -> View:
        answer = provider.answers.pop(0) if len(provider.answers) > 1 else provider.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def curves(self, job: Job) -> Curves:
        return Curves(POINTS, 10)

    def cancel(self, job: Job) -> None:
        if job.provider_id not in provider.cancelled:
            provider.cancelled.append(job.provider_id)

    def fetch(self, job: Job) -> Trained:
        artifact = self.artifacts.put_bytes(job.key.encode(), "application/octet-stream")
        return Trained("adapter", artifact.digest, artifact.uri, cost_usd=1.5)

    def handle(self, order: Order, name: str) -> Job:
        return Job(
            spec_digest=order.recipe.spec_digest,
            key=order.key,
            backend=self.name,
            attempt=order.attempt,
            provider_id=name,
            url="https://provider.example/job",
        )


def make_job(order: Order) -> Job:
    """Make a job at the provider, as a request does that arrives there."""
    name = f"job-{len(provider.jobs) + 1}"
    provider.jobs[name] = order.key
    if provider.submits:
        provider.submits.pop(0)()
    return BilledBackend.handle(BilledBackend, order, name)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    metadata = tmp_path / "site" / "billed-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: billed\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[retune.backends]\nbilled = {__name__}:BilledBackend\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(sys.modules[__name__], "provider", Provider())
    bench = make_bench(tmp_path / "project")
    # Nothing listens there.
    return replace(bench, settings=replace(bench.settings, mlflow_uri="http://127.0.0.1:1"))


class Run:
    """Runs the same job again and again, and keeps what was reported."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.dataset = bench.dataset()
        self.recipe = bench.recipe().model_copy(update={"backend": "billed"})
        self.lines: list[str] = []

    def __call__(
        self,
        recipe: Recipe | None = None,
        dataset: Dataset | None = None,
        forced_at: datetime | None = None,
    ) -> Model:
        site = self.bench.site(self.lines.append)
        return run_job(recipe or self.recipe, dataset or self.dataset, site, forced_at=forced_at)

    def row(self, attempt: int = 1) -> jobs.JobRow | None:
        with self.bench.db.read() as tx:
            return jobs.get(tx, job_key(self.dataset, self.recipe, "billed", "org-1", attempt))


@pytest.fixture
def run(bench: Bench) -> Run:
    return Run(bench)


def test_a_job_ends_as_a_model_with_its_curves(run: Run) -> None:
    model = run()
    assert model.digest == digest_of(model.job_key.encode())
    assert {curve.name: curve.points for curve in model.curves} == {
        "loss": ((5, 2.0), (10, 1.0)),
        "eval_loss": ((10, 1.5),),
    }
    assert (model.seconds, model.cost_usd, model.base_digest) == (2.5, 1.5, run.recipe.base_digest)
    row = run.row()
    assert row is not None and row.model == model
    assert any("step 10 of 10, loss 1.0000, validation loss 1.5000" in line for line in run.lines)


def test_the_same_job_again_pays_nothing(run: Run) -> None:
    first = run()
    again = run.recipe.model_copy(update={"spec_digest": digest_of(b"edited"), "index": 3})
    second = run(again)
    assert len(provider.jobs) == 1
    assert second == first.model_copy(update={"spec_digest": digest_of(b"edited"), "recipe_index": 3})


def test_other_data_or_hyperparameters_are_another_job(run: Run) -> None:
    run()
    run(dataset=run.bench.dataset(train=8))
    run(run.recipe.model_copy(update={"seed": 8}))
    assert len(set(provider.jobs.values())) == 3


def test_an_orphan_of_a_crash_between_submit_and_handle_is_adopted(run: Run) -> None:
    provider.submits = [crash]
    with pytest.raises(KeyboardInterrupt):
        run()
    row = run.row()
    assert row is not None and row.job is None
    run()
    assert len(provider.jobs) == 1
    assert any("adopted" in line for line in run.lines)


def test_a_crash_while_it_runs_is_followed_up(run: Run) -> None:
    provider.answers = [RUNNING, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run()
    provider.answers = [SUCCEEDED]
    run()
    assert len(provider.jobs) == 1


def test_without_a_state_nothing_is_submitted(run: Run) -> None:
    broken = Bench(run.bench.settings, Database("sqlite:////nowhere/state.db"), run.bench.artifacts)
    with pytest.raises(StateError):
        Run(broken)()
    assert provider.jobs == {}


def test_what_the_backend_would_refuse_is_refused_before_the_intent(run: Run) -> None:
    run.recipe = run.recipe.model_copy(update={"hyperparameters": {"epochs": 51}})
    with pytest.raises(BackendError, match="choose 50 or fewer"):
        run()
    assert provider.jobs == {} and run.row() is None


def test_only_a_failed_job_is_a_new_attempt(run: Run) -> None:
    provider.answers = [FAILED]
    with pytest.raises(BackendError, match="the disk is full"):
        run()
    assert len(provider.jobs) == 1
    provider.answers = [SUCCEEDED]
    run()
    first, second = run.row(1), run.row(2)
    assert first is not None and first.status is JobStatus.FAILED and "disk" in first.error
    assert second is not None and second.status is JobStatus.SUCCEEDED
    assert len(set(provider.jobs.values())) == 2


def test_a_trainer_that_dies_is_started_again_under_the_same_key(run: Run) -> None:
    provider.answers = [JobLostError("was killed"), SUCCEEDED]
    run()
    row = run.row()
    assert row is not None and row.status is JobStatus.SUCCEEDED
    assert provider.posts == 2
    assert any("starting it again" in line for line in run.lines)


def test_a_trainer_that_dies_each_time_is_an_error_and_the_next_run_goes_on_with_it(run: Run) -> None:
    provider.answers = [JobLostError("was killed")]
    with pytest.raises(BackendError, match=r"was killed \(4 times\) -> mend that and run again"):
        run()
    row = run.row()
    assert row is not None and row.status is JobStatus.RUNNING
    provider.answers = [SUCCEEDED]
    run()
    row = run.row()
    assert row is not None and row.status is JobStatus.SUCCEEDED and run.row(2) is None


def test_a_model_that_is_no_longer_stored_is_trained_again(run: Run) -> None:
    shutil.rmtree(Path(run().uri.removeprefix("file://")).parent)
    run()
    assert len(set(provider.jobs.values())) == 2


def test_cancelling_stops_the_job_and_the_next_run_is_a_new_attempt(run: Run) -> None:
    provider.answers = [RUNNING, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run()

    provider.answers = [RUNNING]

    def cancel() -> bool:
        return cancel_job(run.recipe, run.dataset, run.bench.site())

    assert cancel()
    row = run.row()
    assert row is not None and row.status is JobStatus.CANCELLED
    assert provider.cancelled == ["job-1"]
    assert not cancel()
    provider.answers = [SUCCEEDED]
    run()
    assert run.row(2) is not None


def test_without_mlflow_a_paid_job_ends_well_and_says_so_loudly(run: Run) -> None:
    assert run().tracking_url == ""
    warnings = [line for line in run.lines if line.startswith("WARNING: MLflow could not")]
    assert len(warnings) == 1 and "start the run" in warnings[0]


def test_an_unknown_backend_names_those_that_are_there(run: Run) -> None:
    with pytest.raises(BackendError, match="'quantum'; installed are .*billed.*local"):
        run(run.recipe.model_copy(update={"backend": "quantum"}))


def test_an_answer_that_was_lost_is_looked_for_before_anything_is_posted_again(run: Run) -> None:
    def lose() -> None:
        raise InDoubtError("the connection broke")

    provider.submits, provider.lag = [lose], 3
    run()
    assert (provider.posts, len(provider.jobs)) == (1, 1)
    assert any("looking whether the job is there" in line for line in run.lines)


def test_a_request_that_never_arrived_is_sent_again_once_it_cannot_arrive_any_more(run: Run) -> None:
    provider.refusals = [InDoubtError("the connection broke")]
    begun = time.monotonic()
    run()
    assert (provider.posts, len(provider.jobs)) == (2, 1)
    assert time.monotonic() - begun >= BilledBackend.settles_within_s


def test_a_killed_process_leaves_its_request_to_be_looked_for(run: Run) -> None:
    provider.refusals = [KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        run()
    row = run.row()
    assert row is not None and row.posted_at is not None and row.job is None
    begun = time.monotonic()
    run()
    assert len(provider.jobs) == 1
    assert time.monotonic() - begun >= BilledBackend.settles_within_s - 0.1
    assert any("may be under way" in line for line in run.lines)


def test_requests_without_an_answer_end(run: Run) -> None:
    provider.refusals = [InDoubtError("the connection broke") for _ in range(3)]
    with pytest.raises(InDoubtError, match="3 requests for job .* brought no answer and no job"):
        run()
    assert provider.posts == 3


def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_not(run: Run) -> None:
    provider.refusals = [TransientError("too many requests", retry_after_s=0.01)]
    run()
    assert (provider.posts, len(provider.jobs)) == (2, 1)
    provider.refusals = [BackendError("no such model", "mend it")]
    other = run.recipe.model_copy(update={"seed": 9})
    with pytest.raises(BackendError, match="no such model -> mend it"):
        run(other)
    run(other)
    assert provider.posts == 4
    # It was known that no job had been made, so that the next run did not wait for one to appear.
    assert not any("may be under way" in line for line in run.lines)


def test_those_who_place_the_same_order_at_once_make_one_job(run: Run) -> None:
    provider.submits = [lambda: time.sleep(0.05)]
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: run(), range(8)))
    assert len({model.digest for model in models}) == 1
    assert (provider.posts, len(provider.bill())) == (1, 1)


def test_a_twin_that_comes_late_is_cancelled(run: Run) -> None:
    def twin() -> None:
        provider.jobs["late"] = next(iter(provider.jobs.values()))

    provider.submits = [twin]
    run()
    assert provider.cancelled == ["late"] and len(provider.bill()) == 1
    assert any("late is a twin of job-1" in line for line in run.lines)


def test_who_stores_his_handle_second_cancels_his_own_job(run: Run) -> None:
    """A process that stood still for longer than any request may take."""

    def overtaken() -> None:
        key = next(iter(provider.jobs.values()))
        row = run.row()
        assert row is not None
        order = Order(key, 1, run.recipe, run.dataset)
        with run.bench.db.write() as tx:
            jobs.submitted(tx, key, make_job(order))

    provider.submits = [overtaken]
    run()
    row = run.row()
    assert row is not None and row.job is not None and row.job.provider_id == "job-2"
    assert provider.cancelled == ["job-1"]


def test_a_forced_run_trains_anew_once(run: Run) -> None:
    run()
    forced_at = datetime.now(UTC) + timedelta(milliseconds=1)
    wait_until(forced_at)
    run(forced_at=forced_at)
    run(forced_at=forced_at)  # its own retry
    assert len(provider.jobs) == 2
    run()
    assert len(provider.jobs) == 2


def test_a_job_that_fails_each_time_is_not_paid_for_ever(run: Run) -> None:
    provider.answers = [FAILED]
    for _ in range(MOST_FAILURES):
        with pytest.raises(BackendError, match="the disk is full"):
            run()
    with pytest.raises(BackendError, match=f"failed {MOST_FAILURES} times .*the disk is full.* with `force`"):
        run()
    assert len(provider.jobs) == MOST_FAILURES
    forced_at = datetime.now(UTC) + timedelta(milliseconds=1)
    wait_until(forced_at)
    provider.answers = [SUCCEEDED]
    run(forced_at=forced_at)
    assert len(provider.jobs) == MOST_FAILURES + 1


def test_a_job_that_vanished_is_failed_and_the_next_try_is_a_new_one(run: Run) -> None:
    provider.answers = [RUNNING, *[JobGoneError("404") for _ in range(2)], RUNNING, JobGoneError("404")]
    with pytest.raises(BackendError, match="no longer knows job job-1"):
        run()
    row = run.row()
    assert row is not None and row.status is JobStatus.FAILED
    provider.answers = [SUCCEEDED]
    run()
    assert len(provider.jobs) == 2


def test_what_a_cancelled_attempt_left_behind_is_cancelled_when_it_shows_up(run: Run) -> None:
    def lose() -> None:
        raise KeyboardInterrupt

    provider.submits = [lose]
    with pytest.raises(KeyboardInterrupt):
        run()
    provider.lag = 1  # the one who cancels does not see it yet
    assert cancel_job(run.recipe, run.dataset, run.bench.site())
    assert provider.cancelled == []
    run()
    assert provider.cancelled == ["job-1"] and len(provider.bill()) == 1


def test_a_job_that_takes_too_long_goes_on(run: Run) -> None:
    provider.answers = [RUNNING]
    with pytest.raises(BackendError, match="it goes on -> run again to adopt it"):
        run_job(run.recipe, run.dataset, run.bench.site(), timeout_s=0.0)
    provider.answers = [SUCCEEDED]
    run()
    assert len(provider.jobs) == 1


def wait_until(moment: datetime) -> None:
    while datetime.now(UTC) <= moment:
        time.sleep(0.001)
