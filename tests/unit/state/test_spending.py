"""Money is set aside once a job, and runs that reserve at once never overdraw a month together."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retune.errors import StateError
from retune.spec.budget import Budget
from retune.state import jobs, spending
from retune.state.database import Database
from retune.state.spending import BudgetError, Spent

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BUDGET = Budget(monthly_usd=100.0)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    yield database
    database.engine.dispose()


def reserve(
    db: Database, key: str, usd: float | None, pipeline: str = "tickets", now: datetime = NOW
) -> spending.Entry:
    with db.write() as tx:
        return spending.reserve(tx, key, pipeline, usd, now, BUDGET)


def month(db: Database, pipeline: str | None = "tickets", at: datetime = NOW) -> Spent:
    with db.read() as tx:
        return spending.spent(tx, pipeline, at)


def test_a_job_is_reserved_once_and_settled_once(db: Database) -> None:
    later = NOW + timedelta(hours=3)
    assert reserve(db, "k", 60.0) == reserve(db, "k", 99.0, now=later)
    assert month(db) == Spent(settled=0.0, reserved=60.0, jobs=1, unpriced=0)
    with db.write() as tx:
        spending.settle(tx, "k", 58.5, later)
        spending.settle(tx, "k", 58.5, later + timedelta(days=1))
        spending.settle(tx, "k", 0.0, later + timedelta(days=2))
    assert month(db) == Spent(settled=58.5, reserved=0.0, jobs=1, unpriced=0)
    assert month(db).total == 58.5
    assert reserve(db, "k", 60.0).settled_at == later


def test_what_was_set_aside_for_a_job_that_was_never_made_is_given_back(db: Database) -> None:
    reserve(db, "never made", 90.0)
    reserve(db, "paid", 10.0)
    with db.write() as tx:
        spending.settle(tx, "paid", 10.0, NOW)
        spending.release(tx, "never made")
        spending.release(tx, "never made")
        spending.release(tx, "paid")
        assert spending.get(tx, "never made") is None
    assert month(db) == Spent(settled=10.0, reserved=0.0, jobs=1, unpriced=0)
    assert reserve(db, "never made", 90.0).usd == 90.0


def test_more_than_the_month_holds_is_refused_with_the_figures(db: Database) -> None:
    reserve(db, "a", 70.0)
    reserve(db, "b", 25.0)
    with db.write() as tx:
        spending.settle(tx, "a", 70.0, NOW)
    with pytest.raises(BudgetError) as caught:
        reserve(db, "c", 5.01)
    assert str(caught.value) == (
        "a job of tickets would cost 5.01 USD on top of this month's 95.00 USD (70.00 USD paid, 25.00 USD"
        " reserved), more than the 100.00 USD of budget.monthly_usd"
        " -> raise it, or wait for the next month (UTC)"
    )
    assert month(db).total == 95.0
    assert reserve(db, "c", 5.0).usd == 5.0
    assert reserve(db, "another pipeline's", 99.0, "mails").usd == 99.0
    assert reserve(db, "free", 0.0).usd == 0.0


def test_a_job_that_is_known_is_let_through_in_a_month_that_is_full(db: Database) -> None:
    reserve(db, "a", 100.0)
    assert reserve(db, "a", 100.0).usd == 100.0


def test_without_a_budget_nothing_is_refused(db: Database) -> None:
    with db.write() as tx:
        spending.reserve(tx, "a", "tickets", 1e6, NOW)
        spending.reserve(tx, "b", "tickets", 1e6, NOW, Budget())
    assert month(db).reserved == 2e6


def test_a_cost_that_nobody_knows_is_counted_and_not_taken_for_nothing(db: Database) -> None:
    reserve(db, "a", None)
    reserve(db, "b", 3.0)
    assert month(db) == Spent(settled=0.0, reserved=3.0, jobs=2, unpriced=1)
    with db.write() as tx:
        spending.settle(tx, "b", None, NOW)
        spending.settle(tx, "a", 4.0, NOW)
    assert month(db) == Spent(settled=4.0, reserved=0.0, jobs=2, unpriced=1)


def test_a_job_that_began_before_anything_was_reserved_is_settled_too(db: Database) -> None:
    with db.write() as tx:
        jobs.intend(tx, "old", "tickets", "local", 1, {}, NOW)
        spending.settle(tx, "old", 1.5, NOW)
    assert month(db).settled == 1.5
    with pytest.raises(StateError, match="nothing was reserved for job unknown -> reserve before"):
        with db.write() as tx:
            spending.settle(tx, "unknown", 1.5, NOW)


def test_a_job_counts_in_the_month_in_utc_in_which_it_was_reserved(db: Database) -> None:
    tokyo = timezone(timedelta(hours=9))
    last = datetime(2026, 12, 1, 8, 59, 59, tzinfo=tokyo)  # November, in UTC
    first = datetime(2026, 12, 1, 9, 0, 0, tzinfo=tokyo)
    reserve(db, "november", 1.0, now=last)
    reserve(db, "december", 2.0, now=first)
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    reserve(db, "january", 4.0, now=new_year)
    with db.write() as tx:
        spending.settle(tx, "november", 1.0, first)
    assert [month(db, at=at).total for at in (NOW, last, first, new_year)] == [1.0, 1.0, 2.0, 4.0]
    with pytest.raises(ValueError, match="without a zone"):
        month(db, at=datetime(2026, 11, 1))


def test_pipelines_and_their_jobs_are_listed(db: Database) -> None:
    reserve(db, "b", 1.0, "mails", NOW + timedelta(hours=1))
    reserve(db, "a", 2.0, "mails", NOW)
    reserve(db, "c", 4.0)
    reserve(db, "d", 8.0, "archive", NOW - timedelta(days=60))
    with db.read() as tx:
        assert spending.pipelines(tx, NOW) == ["mails", "tickets"]
        assert [entry.key for entry in spending.of_pipeline(tx, "mails", NOW)] == ["a", "b"]
        assert spending.of_pipeline(tx, "archive", NOW) == []
    assert month(db, None) == Spent(settled=0.0, reserved=7.0, jobs=3, unpriced=0)


steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release"]),
        st.sampled_from("abcde"),
        st.integers(0, 60),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('spending') / 'state.db'}")
    database.migrate()
    yield database
    database.engine.dispose()


@hypothesis_settings(max_examples=40)
@given(steps=steps)
def test_the_state_agrees_with_a_ledger_kept_by_hand(
    shared: Database, steps: list[tuple[str, str, int]]
) -> None:
    by_hand: dict[str, tuple[int, bool]] = {}
    with shared.write() as tx:
        tx.exec_driver_sql("delete from spending")
        for verb, key, usd in steps:
            held = sum(amount for amount, _ in by_hand.values())
            if verb == "reserve":
                fits = key in by_hand or usd == 0 or held + usd <= 100
                try:
                    spending.reserve(tx, key, "tickets", float(usd), NOW, BUDGET)
                except BudgetError:
                    assert not fits
                else:
                    assert fits
                    by_hand.setdefault(key, (usd, False))
            elif verb == "settle" and key in by_hand:
                spending.settle(tx, key, float(usd), NOW)
                if not by_hand[key][1]:
                    by_hand[key] = (usd, True)
            elif verb == "release":
                spending.release(tx, key)
                if key in by_hand and not by_hand[key][1]:
                    del by_hand[key]
        found = spending.spent(tx, "tickets", NOW)
    assert found.settled == sum(usd for usd, settled in by_hand.values() if settled)
    assert found.reserved == sum(usd for usd, settled in by_hand.values() if not settled)
    assert found.jobs == len(by_hand)


def test_threads_that_reserve_at_once_never_overdraw_the_month(db: Database) -> None:
    start, refused = threading.Barrier(8), []

    def run(number: int) -> None:
        mine = Database(db.url)
        start.wait(timeout=60)
        try:
            reserve(mine, f"job {number}", 30.0)
        except BudgetError:
            refused.append(number)
        finally:
            mine.engine.dispose()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(refused) == 5
    assert month(db) == Spent(settled=0.0, reserved=90.0, jobs=3, unpriced=0)


def _reserve_many(url: str, worker: int) -> None:
    """Reserve keys that other processes reserve too, and keys of one's own, until the month is full."""
    mine = Database(url)
    for number in range(10):
        for key in (f"shared {number}", f"{worker} {number}"):
            try:
                reserve(mine, key, 9.0)
            except BudgetError:
                continue


def test_processes_that_reserve_at_once_never_overdraw_the_month(db: Database) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_reserve_many, args=(db.url, n)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    # 11 of 9 USD fit into 100.
    assert month(db) == Spent(settled=0.0, reserved=99.0, jobs=11, unpriced=0)
