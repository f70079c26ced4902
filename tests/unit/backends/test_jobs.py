"""A job runs exactly once, whatever happens between the intent and the model."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from retune.artifacts import Artifacts, digest_of
from retune.backends.base import JobLostError, Order, Point, Trained, View
from retune.backends.jobs import cancel_job, job_key, run_job
from retune.errors import BackendError, StateError
from retune.records import Dataset, Job, JobStatus, Model, Recipe
from retune.settings import Settings
from retune.state import jobs
from retune.state.database import Database
from tests.tuning import NOW, Bench, make_bench

RUNNING = View(JobStatus.RUNNING, (Point(5, 1.0, {"loss": 2.0}),), total_steps=10)
POINTS = (Point(5, 1.0, {"loss": 2.0}), Point(10, 2.0, {"loss": 1.0}), Point(10, 2.1, {"eval_loss": 1.5}))
SUCCEEDED = View(JobStatus.SUCCEEDED, POINTS, 10, 2.5)
FAILED = View(JobStatus.FAILED, error="the disk is full -> free space")


@dataclass
class Provider:
    """A provider that bills for every submit and does what it is told."""

    answers: list[View | BaseException] = field(default_factory=lambda: [RUNNING, SUCCEEDED])
    """What polls bring, in order; the last one stays."""
    on_submit: Callable[[], None] = lambda: None
    """Runs once the provider has the job."""
    bills: list[str] = field(default_factory=list)
    """Keys: a lost job is submitted again at no cost."""
    submits: int = 0
    cancelled: list[str] = field(default_factory=list)


provider = Provider()


class BilledBackend:
    """What a third party's package would bring."""

    name = "billed"
    account = "org-1"
    poll_every_s = 0.0

    def __init__(self, settings: Settings, artifacts: Artifacts) -> None:
        self.artifacts = artifacts

    def validate(self, order: Order) -> None:
        if order.recipe.hyperparameters["epochs"] > 50:
            raise BackendError("epochs is 51", "choose 50 or fewer")

    def submit(self, order: Order) -> Job:
        if order.key not in provider.bills:
            provider.bills.append(order.key)
        provider.submits += 1
        provider.on_submit()
        return self.handle(order)

    def find(self, order: Order) -> Job | None:
        return self.handle(order) if order.key in provider.bills else None

    def poll(self, job: Job) -> View:
        answer = provider.answers.pop(0) if len(provider.answers) > 1 else provider.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def cancel(self, job: Job) -> None:
        provider.cancelled.append(job.key)

    def fetch(self, job: Job) -> Trained:
        artifact = self.artifacts.put_bytes(job.key.encode(), "application/octet-stream")
        return Trained("adapter", artifact.digest, artifact.uri, cost_usd=1.5)

    def handle(self, order: Order) -> Job:
        return Job(
            spec_digest=order.recipe.spec_digest,
            key=order.key,
            backend=self.name,
            attempt=order.attempt,
            provider_id=f"job-{order.key[:8]}",
            url="https://provider.example/job",
        )


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

    def __call__(self, recipe: Recipe | None = None, dataset: Dataset | None = None) -> Model:
        return run_job(
            recipe or self.recipe,
            dataset or self.dataset,
            db=self.bench.db,
            artifacts=self.bench.artifacts,
            settings=self.bench.settings,
            now=NOW,
            report=self.lines.append,
        )

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
    assert len(provider.bills) == 1
    assert second == first.model_copy(update={"spec_digest": digest_of(b"edited"), "recipe_index": 3})


def test_other_data_or_hyperparameters_are_another_job(run: Run) -> None:
    run()
    run(dataset=run.bench.dataset(train=8))
    run(run.recipe.model_copy(update={"seed": 8}))
    assert len(set(provider.bills)) == 3


def test_an_orphan_of_a_crash_between_submit_and_handle_is_adopted(run: Run) -> None:
    def crash() -> None:
        raise KeyboardInterrupt

    provider.on_submit = crash
    with pytest.raises(KeyboardInterrupt):
        run()
    row = run.row()
    assert row is not None and row.job is None
    run()
    assert len(provider.bills) == 1
    assert any("adopted" in line for line in run.lines)


def test_a_crash_while_it_runs_is_followed_up(run: Run) -> None:
    provider.answers = [RUNNING, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run()
    provider.answers = [SUCCEEDED]
    run()
    assert len(provider.bills) == 1


def test_without_a_state_nothing_is_submitted(run: Run) -> None:
    broken = Bench(run.bench.settings, Database("sqlite:////nowhere/state.db"), run.bench.artifacts)
    with pytest.raises(StateError):
        Run(broken)()
    assert provider.bills == []


def test_what_the_backend_would_refuse_is_refused_before_the_intent(run: Run) -> None:
    run.recipe = run.recipe.model_copy(update={"hyperparameters": {"epochs": 51}})
    with pytest.raises(BackendError, match="choose 50 or fewer"):
        run()
    assert provider.bills == [] and run.row() is None


def test_only_a_failed_job_is_a_new_attempt(run: Run) -> None:
    provider.answers = [FAILED]
    with pytest.raises(BackendError, match="the disk is full"):
        run()
    assert len(provider.bills) == 1
    provider.answers = [SUCCEEDED]
    run()
    first, second = run.row(1), run.row(2)
    assert first is not None and first.status is JobStatus.FAILED and "disk" in first.error
    assert second is not None and second.status is JobStatus.SUCCEEDED
    assert len(set(provider.bills)) == 2


def test_a_trainer_that_dies_is_started_again_under_the_same_key(run: Run) -> None:
    provider.answers = [JobLostError("was killed"), SUCCEEDED]
    run()
    row = run.row()
    assert row is not None and row.status is JobStatus.SUCCEEDED
    assert (provider.submits, len(provider.bills)) == (2, 1)
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
    assert len(set(provider.bills)) == 2


def test_cancelling_stops_the_job_and_the_next_run_is_a_new_attempt(run: Run) -> None:
    provider.answers = [RUNNING, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run()

    def cancel() -> bool:
        bench = run.bench
        return cancel_job(
            run.recipe, run.dataset, db=bench.db, artifacts=bench.artifacts, settings=bench.settings, now=NOW
        )

    assert cancel()
    row = run.row()
    assert row is not None and row.status is JobStatus.CANCELLED
    assert provider.cancelled == [row.key]
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
