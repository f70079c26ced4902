"""One order is one job, whatever is lost, late or done twice on the way."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retune.backends.base import InDoubtError, Order, Sighting, TransientError
from retune.backends.jobs import Site, begin
from retune.backends.posting import place_order
from retune.errors import BackendError
from retune.records import JobStatus
from retune.state import jobs
from tests.unit.backends.provider import BilledBackend, Run, crash, make_job, provider, row_of, started


def test_an_orphan_of_a_crash_between_submit_and_handle_is_adopted(run: Run) -> None:
    provider.submits = [crash]
    with pytest.raises(KeyboardInterrupt):
        run()
    row = run.row()
    assert row is not None and row.job is None
    run()
    assert len(provider.jobs) == 1
    assert any("adopted" in line for line in run.lines)


def test_an_answer_that_was_lost_is_looked_for_before_anything_is_posted_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BilledBackend, "settles_within_s", 10.0)  # far longer than a busy machine takes

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
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run()
    row = run.row()
    assert row is not None and row.posted_at is not None and row.job is None
    run()
    assert len(provider.jobs) == 1
    assert time.monotonic() - begun >= BilledBackend.settles_within_s
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

    provider.submits = [lose]
    run()
    assert (provider.posts, len(provider.jobs)) == (1, 1)


def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_a_request_may_be_late(run: Run) -> None:
    provider.refusals = [KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        run()
    day_before = lambda: datetime.now(UTC) - timedelta(days=1)  # noqa: E731
    site = Site(run.bench.installation, run.bench.db, run.lines.append, day_before)
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(begin(run.recipe, run.dataset, site)), daemon=True)
    thread.start()
    thread.join(10 * BilledBackend.settles_within_s)
    assert done


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


def test_two_who_find_twins_at_different_moments_keep_the_same_one(run: Run) -> None:
    underway = started(run)
    order, backend = underway.order, underway.backend
    make_job(order)
    with run.bench.db.write() as tx:  # as if nobody had stored a handle yet
        tx.exec_driver_sql("update jobs set job = null, status = 'pending'")

    def sighted(**status: JobStatus) -> Any:
        def find(order: Order) -> list[Sighting]:
            names = (name for name in provider.jobs if name not in provider.cancelled)
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
    assert len(provider.bill()) == 1
    stored = row_of(run).job
    assert stored is not None and stored.provider_id not in provider.cancelled
