"""A job that outlives its attempt, as a cancel came too late or nobody saw it, is not paid twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from retune.backends.base import JobGoneError, Order, Sighting, TransientError, View
from retune.backends.jobs import CLEARED
from retune.backends.stopping import cancel_stored
from retune.errors import BackendError
from retune.records import JobStatus
from tests.unit.backends.provider import (
    FAILED,
    RUNNING,
    SUCCEEDED,
    BilledBackend,
    Run,
    money,
    provider,
    row_of,
    started,
)

CANCELLED = View(JobStatus.CANCELLED, "cancelled at the provider")


@pytest.fixture
def cleared(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A job whose cancel was taken, and which goes on: JOB_STATE_CANCELLING at Vertex AI."""
    underway = started(run)
    monkeypatch.setattr(BilledBackend, "cancel", lambda self, job: None)
    provider.answers = [RUNNING]
    assert cancel_stored(underway.job.key, run.bench.site(), CLEARED)
    assert row_of(run).status is JobStatus.CANCELLED
    return run


def test_a_model_that_a_cancelled_job_made_all_the_same_is_taken(cleared: Run) -> None:
    provider.answers = [RUNNING, RUNNING, SUCCEEDED]
    model = cleared()
    assert (provider.posts, cleared.row(2)) == (1, None)
    assert row_of(cleared).model == model
    assert money(cleared).total == 1.5, "booked once"


def test_the_end_of_a_cancelled_job_is_waited_for_before_the_next_is_paid(cleared: Run) -> None:
    provider.answers = [RUNNING, RUNNING, CANCELLED, SUCCEEDED]
    cleared()
    assert provider.posts == 2 and provider.ended["job-1"] is JobStatus.CANCELLED


def test_while_a_cancelled_job_does_not_end_no_other_is_posted(cleared: Run) -> None:
    provider.answers = [RUNNING]
    with pytest.raises(TransientError, match="job-1 was cancelled and has not ended yet"):
        cleared()
    assert provider.posts == 1 and cleared.row(2) is None


def test_a_forced_run_wants_no_model_of_an_attempt_before(cleared: Run) -> None:
    provider.answers = [SUCCEEDED]
    cleared(forced_at=datetime.now(UTC))
    assert provider.posts == 2


def test_a_job_that_was_only_out_of_sight_is_taken_up_again(run: Run) -> None:
    provider.answers = [JobGoneError("404")]
    with pytest.raises(BackendError, match="no longer knows"):
        run()
    provider.answers = [RUNNING, SUCCEEDED]
    run()
    assert provider.posts == 1
    assert row_of(run).status is JobStatus.SUCCEEDED


def test_a_list_that_is_behind_makes_no_failed_job_a_running_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = BilledBackend.find

    def behind(self: BilledBackend, order: Order) -> list[Sighting]:
        return [replace(one, status=JobStatus.RUNNING) for one in find(self, order)]

    monkeypatch.setattr(BilledBackend, "find", behind)
    provider.answers = [FAILED]
    with pytest.raises(BackendError, match="the disk is full"):
        run()
    provider.answers = [FAILED, SUCCEEDED]
    run()
    assert provider.posts == 2
