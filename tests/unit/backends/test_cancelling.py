"""Who cancels a job ends it, whenever that is, and loses none that was paid for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from retune.backends.base import InDoubtError, JobGoneError, Order, Sighting
from retune.backends.jobs import CLEARED, run_job
from retune.backends.stopping import cancel_job, cancel_stored
from retune.errors import BackendError, RetuneError
from retune.records import Job, JobStatus
from tests.unit.backends.provider import (
    FAILED,
    RUNNING,
    SUCCEEDED,
    BilledBackend,
    Run,
    crash,
    money,
    provider,
    row_of,
    started,
)


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


def test_a_request_under_way_when_its_task_was_cleared_makes_no_second_job(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list shows the first job only after the next try has looked for it."""
    monkeypatch.setattr(BilledBackend, "settles_within_s", 10.0)  # far longer than a busy machine takes
    provider.submits = [crash]
    with pytest.raises(KeyboardInterrupt):
        run()
    provider.lag = 2  # the one who cancels does not see it yet, and the next try's first look neither
    assert cancel_job(run.recipe, run.dataset, run.bench.site())
    run()
    assert len(provider.bill()) == 1


def test_who_was_cancelled_before_he_posted_posts_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow runs `on_kill` in the task's own process, which then goes on for up to five seconds."""
    submit = BilledBackend.submit

    def uploading(self: BilledBackend, order: Order, posting: Callable[[], None]) -> Job:
        cancel_job(run.recipe, run.dataset, run.bench.site())  # what on_kill does amid the upload
        return submit(self, order, posting)

    monkeypatch.setattr(BilledBackend, "submit", uploading)
    with pytest.raises(RetuneError):
        run()
    assert provider.jobs == {}
    assert row_of(run).status is JobStatus.CANCELLED


def test_who_was_cancelled_while_he_looked_posts_no_more(run: Run) -> None:
    provider.refusals = [InDoubtError("the connection broke")]

    def report(line: str) -> None:
        if "looking whether" in line:
            cancel_job(run.recipe, run.dataset, run.bench.site())

    with pytest.raises(RetuneError):
        run_job(run.recipe, run.dataset, run.bench.site(report))
    assert provider.jobs == {}


def test_a_vanished_job_can_be_cancelled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    underway = started(run)

    def cancel(self: BilledBackend, job: Job) -> None:
        raise JobGoneError("404")

    monkeypatch.setattr(BilledBackend, "cancel", cancel)
    assert cancel_stored(underway.job.key, run.bench.site())
    assert row_of(run).status is JobStatus.CANCELLED


def cancel_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As providers do: to cancel a job that has ended changes nothing."""
    monkeypatch.setattr(BilledBackend, "cancel", lambda self, job: None)


@pytest.mark.parametrize("by", ["stored", "recipe"])
def test_a_job_that_had_succeeded_when_it_was_cancelled_is_not_paid_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    underway = started(run)
    provider.answers = [SUCCEEDED]
    cancel_late(monkeypatch)
    site = run.bench.site()
    if by == "stored":
        cancel_stored(underway.job.key, site)
    else:
        cancel_job(run.recipe, run.dataset, site)
    run()
    assert len(provider.jobs) == 1


def test_a_job_that_had_failed_when_it_was_cancelled_has_failed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    underway = started(run)
    provider.answers = [FAILED]
    cancel_late(monkeypatch)
    assert not cancel_stored(underway.job.key, run.bench.site())
    row = row_of(run)
    assert (row.status, row.error, money(run).total) == (JobStatus.FAILED, FAILED.error, 0)


def test_a_cancel_that_was_refused_leaves_no_note(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: BilledBackend, job: Job) -> None:
        raise BackendError("403: this key may not cancel", "ask its owner")

    underway = started(run)
    monkeypatch.setattr(BilledBackend, "cancel", refuse)
    with pytest.raises(BackendError, match="403"):
        cancel_stored(underway.job.key, run.bench.site(), CLEARED)
    row = row_of(run)
    assert (row.status, row.error) == (JobStatus.RUNNING, "")


def test_an_orphan_that_had_succeeded_when_its_task_was_cleared_is_not_paid_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.submits = [crash]
    with pytest.raises(KeyboardInterrupt):
        run()
    found = BilledBackend.find

    def ended(self: BilledBackend, order: Order) -> list[Sighting]:
        return [replace(one, status=JobStatus.SUCCEEDED) for one in found(self, order)]

    monkeypatch.setattr(BilledBackend, "find", ended)
    cancel_late(monkeypatch)
    provider.answers = [SUCCEEDED]
    cancel_job(run.recipe, run.dataset, run.bench.site())
    run()
    assert len(provider.jobs) == 1
