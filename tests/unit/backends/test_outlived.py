"""A job that outlives its attempt, as a cancel came too late or nobody saw it, is not paid twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from retune.backends import cancelling
from retune.backends.base import JobGoneError, Order, Sighting, TransientError, View
from retune.backends.jobs import CLEARED
from retune.backends.stopping import cancel_stored
from retune.errors import BackendError
from retune.records import Job, JobStatus
from retune.state import jobs
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


def test_while_a_cancelled_job_does_not_end_no_other_is_posted(
    cleared: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "CANCELLED_WITHIN_S", 0.1)
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


def test_a_failed_job_is_not_looked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find = BilledBackend.find

    def behind(self: BilledBackend, order: Order) -> list[Sighting]:
        return [replace(one, status=JobStatus.RUNNING) for one in find(self, order)]

    monkeypatch.setattr(BilledBackend, "find", behind)
    provider.answers = [FAILED]
    with pytest.raises(BackendError, match="the disk is full"):
        run()
    provider.answers = [SUCCEEDED]
    run()
    assert provider.posts == 2


def test_a_job_that_no_list_shows_is_known_by_its_handle(
    cleared: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services without metadata, and lists that lag."""
    monkeypatch.setattr(BilledBackend, "find", lambda self, order: [])
    provider.answers = [RUNNING, SUCCEEDED]
    cleared()
    assert provider.posts == 1


def test_a_list_is_not_believed_that_a_job_has_made_its_model(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = BilledBackend.find

    def wrong(self: BilledBackend, order: Order) -> list[Sighting]:
        return [replace(one, status=JobStatus.SUCCEEDED) for one in find(self, order)]

    provider.answers = [JobGoneError("404")]
    with pytest.raises(BackendError, match="no longer knows"):
        run()
    monkeypatch.setattr(BilledBackend, "find", wrong)
    provider.answers = [FAILED, SUCCEEDED]
    run()
    assert row_of(run, 2).model is not None


def test_a_refused_second_cancel_is_waited_out(cleared: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a job in JOB_STATE_CANCELLING, which cannot be cancelled again."""

    def refuse(self: BilledBackend, job: Job) -> None:
        raise BackendError("400 FAILED_PRECONDITION")

    monkeypatch.setattr(BilledBackend, "cancel", refuse)
    provider.answers = [RUNNING, RUNNING, CANCELLED, SUCCEEDED]
    cleared()
    assert provider.posts == 2


def test_a_cancelled_job_that_is_forgotten_while_it_is_waited_for_has_ended(cleared: Run) -> None:
    provider.answers = [RUNNING, RUNNING, *[JobGoneError("404")] * 1000]
    with pytest.raises(BackendError):
        cleared()
    assert provider.posts == 2


def test_a_cancelled_job_that_cannot_be_seen_from_here_is_in_nobodys_way(cleared: Run) -> None:
    provider.answers = [BackendError("it lies in another host's home"), SUCCEEDED]
    cleared()
    assert provider.posts == 2
    assert "another host's home" in "".join(cleared.lines)


def test_a_forced_runs_own_attempt_is_wanted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    since = datetime.now(UTC)
    underway = started(run)
    monkeypatch.setattr(BilledBackend, "cancel", lambda self, job: None)
    provider.answers = [RUNNING]
    assert cancel_stored(underway.job.key, run.bench.site(), CLEARED)
    provider.answers = [RUNNING, SUCCEEDED]
    run(forced_at=since)
    assert provider.posts == 1


def test_the_true_cost_of_a_job_that_outlived_its_cancel_is_booked(
    cleared: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = BilledBackend.fetch
    monkeypatch.setattr(BilledBackend, "fetch", lambda self, job: replace(fetch(self, job), cost_usd=7.0))
    provider.answers = [RUNNING, SUCCEEDED]
    cleared()
    assert money(cleared).settled == 7.0


@pytest.mark.parametrize("other", ["adopted it", "went on without it"])
def test_who_comes_second_leaves_the_job_to_who_adopted_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    provider.answers = [JobGoneError("404")]
    with pytest.raises(BackendError, match="no longer knows"):
        run()
    provider.answers = [RUNNING]
    poll = BilledBackend.poll

    def beaten(self: BilledBackend, job: Job) -> View:
        """Another run does it all between this one's look and its decision."""
        monkeypatch.setattr(BilledBackend, "poll", poll)
        if other == "went on without it":
            monkeypatch.setattr(BilledBackend, "poll", lambda self, job: View(JobStatus.FAILED))
        started(run)
        monkeypatch.setattr(BilledBackend, "poll", poll)
        return RUNNING

    monkeypatch.setattr(BilledBackend, "poll", beaten)
    started(run)
    if other == "adopted it":
        assert (provider.posts, provider.cancelled) == (1, [])
    else:
        assert (provider.posts, provider.cancelled) == (2, ["job-1"])
    assert len(provider.bill()) == 1


def test_who_comes_too_late_to_reopen_changes_nothing(cleared: Run) -> None:
    row = row_of(cleared)
    with cleared.bench.db.write() as tx:
        assert jobs.reopened(tx, row, handle_of(row), "the next key")
        assert not jobs.reopened(tx, row, handle_of(row), "the next key")
    again = row_of(cleared)
    with cleared.bench.db.write() as tx:
        jobs.intend(tx, "the next key", "tiny", "billed", 2, {}, datetime.now(UTC))
        assert not jobs.reopened(tx, again, handle_of(again), "the next key")


def handle_of(row: jobs.JobRow) -> Job:
    assert row.job is not None
    return row.job
