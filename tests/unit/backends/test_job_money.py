"""Money is set aside for a job that may be paid, and given back where none is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retune.backends.base import Order
from retune.backends.costs import estimate_costs
from retune.backends.jobs import cancel_job
from retune.errors import ArtifactError, BackendError, RetuneError
from retune.records import Job
from tests.unit.backends.provider import BilledBackend, Run, money, provider


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
    provider.refusals = [BackendError("no quota is left", "add credit")]
    with pytest.raises(BackendError, match="no quota"):
        run()
    [cost] = estimate_costs([run.recipe], run.dataset, run.bench.site())
    assert cost["usd"] == 1.5
