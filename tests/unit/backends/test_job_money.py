"""Money is set aside for a job that may be paid, and given back where none is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from retune import jobs_command
from retune.artifacts import digest_of_tree
from retune.backends.attempts import job_key
from retune.backends.base import Estimate, JobGoneError, Order
from retune.backends.costs import estimate_costs
from retune.backends.jobs import begin
from retune.backends.stopping import cancel_job, cancel_stored
from retune.errors import ArtifactError, BackendError, RetuneError
from retune.records import Job, JobStatus
from retune.state import dataset_records
from retune.state.spending import BudgetError
from retune.training.job import Done, JobFolder
from tests.unit.backends.provider import (
    RUNNING,
    BilledBackend,
    Run,
    crash,
    money,
    provider,
    row_of,
    started,
)


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


def cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die amid the upload, with the money set aside."""
    submit = BilledBackend.submit
    monkeypatch.setattr(BilledBackend, "submit", lambda *_: crash())
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(BilledBackend, "submit", submit)
    assert money(run).reserved == 1.5


def test_money_that_is_set_aside_is_not_asked_for_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(run, monkeypatch)
    [cost] = estimate_costs([run.recipe], run.dataset, run.bench.site())
    assert (cost["usd"], cost["basis"]) == (0.0, "the same job's money was set aside before")
    begin(run.recipe, run.dataset, run.bench.site(), most_usd=0.0)
    assert money(run).total == 1.5


def test_money_of_a_job_that_was_never_asked_for_is_given_back_by_hand(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(run, monkeypatch)
    jobs_command.cancel(row_of(run).key[:12], run.bench.settings, run.lines.append)
    assert money(run).total == 0
    assert row_of(run).status is JobStatus.CANCELLED


def test_a_job_whose_handle_was_lost_is_cancelled_by_hand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BilledBackend, "settles_within_s", 10.0)  # far longer than a busy machine takes
    provider.submits = [crash]
    with pytest.raises(KeyboardInterrupt):
        run()
    provider.lag = 1
    with run.bench.db.write() as tx:
        dataset_records.add(tx, run.dataset, datetime.now(UTC))
    jobs_command.cancel(row_of(run).key, run.bench.settings, run.lines.append)
    assert provider.bill() == []
    assert money(run).settled == 1.5, "part of it may have been trained"


def test_a_job_costs_no_more_than_was_allowed(run: Run) -> None:
    """Allowed as one that another run trains; that one is cancelled before this one comes to it."""
    underway = started(run)
    [cost] = estimate_costs([run.recipe], run.dataset, run.bench.site())
    provider.answers = [RUNNING]
    cancel_stored(underway.job.key, run.bench.site())
    booked = money(run)
    with pytest.raises(BudgetError, match=r"1\.50 USD is what .* costs by now, and 0\.00 USD"):
        begin(run.recipe, run.dataset, run.bench.site(), most_usd=cost["usd"])
    assert provider.posts == 1 and money(run) == booked
    begin(run.recipe, run.dataset, run.bench.site(), most_usd=1.5)
    assert provider.posts == 2


def test_a_price_that_nobody_knows_any_more_was_not_allowed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BilledBackend, "estimate", lambda self, order: Estimate(None, "no price"))
    with pytest.raises(BudgetError, match="nobody knows what"):
        begin(run.recipe, run.dataset, run.bench.site(), most_usd=1.5)
    begin(run.recipe, run.dataset, run.bench.site(), most_usd=None)
    assert provider.posts == 1


def test_what_a_vanished_job_has_cost_is_not_nothing(run: Run) -> None:
    provider.answers = [RUNNING, JobGoneError("404")]
    with pytest.raises(BackendError, match="no longer knows"):
        run()
    assert money(run).settled == 1.5


def test_hours_of_a_failed_training_are_paid(run: Run) -> None:
    bench = run.bench
    base = bench.settings.resolve("include/base")
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    bench.settings.resolve("include/prices.yaml").write_text(
        "version: 1\nbackends:\n  local:\n    hours:\n"
        "      default: {usd_per_hour: 4, as_of: 2026-11-01, source: the invoice}\n"
    )
    recipe = run.recipe.model_copy(update={"backend": "local", "base_digest": digest_of_tree(base)})
    folder = JobFolder(bench.settings.jobs / job_key(run.dataset, recipe, "local", "", 1))
    folder.path.mkdir(parents=True)
    folder.finish(Done("failed", error="out of memory", seconds=36_000.0))
    with pytest.raises(BackendError, match="out of memory"):
        run(recipe)
    assert money(run).settled == 40.0


def test_zero_and_false_are_values_of_another_packages_options(run: Run) -> None:
    def key(**options: object) -> str:
        recipe = run.recipe.model_copy(update={"hyperparameters": options})
        return job_key(run.dataset, recipe, "billed", "org-1", 1)

    keys = [key(epochs=3), key(epochs=3, weight_decay=0), key(epochs=3, shuffle=False)]
    assert len(set(keys)) == 3
