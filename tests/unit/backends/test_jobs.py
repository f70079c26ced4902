"""A job ends as a model, is reused, and is made anew only where it must be."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import digest_of
from retune.backends.attempts import MOST_FAILURES
from retune.backends.base import Installation, JobGoneError, JobLostError, Order
from retune.backends.jobs import look, run_job, settle
from retune.errors import BackendError, StateError
from retune.records import Job, JobStatus
from retune.state.database import Database
from tests.tuning import Bench
from tests.unit.backends.provider import (
    FAILED,
    RUNNING,
    SUCCEEDED,
    BilledBackend,
    Run,
    provider,
    row_of,
    started,
    wait_until,
)


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


def test_without_mlflow_a_paid_job_ends_well_and_says_so_loudly(run: Run) -> None:
    assert run().tracking_url == ""
    warnings = [line for line in run.lines if line.startswith("WARNING: MLflow could not")]
    assert len(warnings) == 1 and "start the run" in warnings[0]


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


def test_a_crash_while_it_runs_is_followed_up(run: Run) -> None:
    provider.answers = [RUNNING, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run()
    provider.answers = [SUCCEEDED]
    run()
    assert len(provider.jobs) == 1


def test_a_job_that_takes_too_long_goes_on(run: Run) -> None:
    provider.answers = [RUNNING]
    with pytest.raises(BackendError, match="it goes on -> run again to adopt it"):
        run_job(run.recipe, run.dataset, run.bench.site(), timeout_s=0.0)
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


def test_an_unknown_backend_names_those_that_are_there(run: Run) -> None:
    with pytest.raises(BackendError, match="'quantum'; installed are .*billed.*local"):
        run(run.recipe.model_copy(update={"backend": "quantum"}))


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


def test_a_job_that_vanished_is_failed_and_the_next_try_is_a_new_one(run: Run) -> None:
    provider.answers = [RUNNING, *[JobGoneError("404") for _ in range(2)], RUNNING, JobGoneError("404")]
    with pytest.raises(BackendError, match="no longer knows job job-1"):
        run()
    row = run.row()
    assert row is not None and row.status is JobStatus.FAILED
    provider.jobs.clear()
    provider.answers = [SUCCEEDED]
    run()
    assert provider.posts == 2


def test_a_vanished_job_that_is_waited_for_elsewhere_has_failed(run: Run) -> None:
    underway = started(run)
    provider.answers = [JobGoneError("404")]
    site = run.bench.site(run.lines.append)
    view = look(underway, site)
    assert view.status is JobStatus.FAILED
    with pytest.raises(BackendError, match="no longer knows job job-1"):
        settle(underway, view, site)
    assert row_of(run).status is JobStatus.FAILED


def test_a_model_that_is_no_longer_stored_is_trained_again(run: Run) -> None:
    shutil.rmtree(Path(run().uri.removeprefix("file://")).parent)
    run()
    assert len(set(provider.jobs.values())) == 2


def test_a_forced_run_trains_anew_once(run: Run) -> None:
    run()
    forced_at = datetime.now(UTC) + timedelta(milliseconds=1)
    wait_until(forced_at)
    run(forced_at=forced_at)
    run(forced_at=forced_at)  # its own retry
    assert len(provider.jobs) == 2
    run()
    assert len(provider.jobs) == 2


def test_what_a_forced_run_made_is_what_the_next_run_takes(run: Run) -> None:
    run()
    forced_at = datetime.now(UTC) + timedelta(milliseconds=1)
    wait_until(forced_at)
    forced = run(forced_at=forced_at)
    assert run().job_key == forced.job_key
