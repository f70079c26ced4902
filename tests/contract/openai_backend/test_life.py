"""A job of the OpenAI backend before the emulator, from the order to the model and what it cost."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from retune.backends.base import TransientError, View
from retune.backends.posting import place_order
from retune.errors import BackendError
from retune.prices import OWN_PRICES
from retune.records import JobStatus
from retune.settings import OpenAIAccount
from tests.contract.desk import pairs
from tests.contract.house import WITHIN_S, ended, until
from tests.contract.openai_house import CANARY, CREATE, GRADER, ONE, Desk, submitted


@pytest.mark.parametrize("rule", [{"do": "lose_answer"}, {"do": "late_commit", "after_s": 0.5}])
def test_a_lost_answer_ends_with_one_job(desk: Desk, rule: dict[str, Any]) -> None:
    desk.emulator.set_faults([{"on": CREATE, **rule}])
    desk.emulator.set_options(list_lag_s=0.3)
    order = desk.order()
    told: list[str] = []
    job = place_order(order, desk.backend(), desk.bench.db, lambda: datetime.now(UTC), told.append)
    (only,) = desk.emulator.jobs(retune_key=order.key)
    assert only["id"] == job.provider_id
    assert any("adopted" in line for line in told)
    assert only["labels"] == {
        "retune_key": order.key,
        "retune_pipeline": "tiny",
        "retune_attempt": "1",
        "retune_checkpoint": "last",
    }


def test_a_second_process_finds_the_job_and_only_that(desk: Desk) -> None:
    backend, order = desk.backend(), desk.order()
    job = submitted(backend, order)
    submitted(backend, desk.order())
    (seen,) = desk.backend().find(order)
    assert seen.job == job
    assert abs(seen.created_at - time.time()) < WITHIN_S
    assert not desk.backend().find(desk.order())


@pytest.mark.parametrize("given", [{"method": "dpo", "beta": 0.2}, {"method": "sft", "suffix": "our-own"}])
def test_a_job_takes_the_recipe_as_it_is(desk: Desk, given: dict[str, Any]) -> None:
    data = desk.dataset_of(pairs(12), pairs(3, 100))
    order = desk.order(data, epochs=2, batch_size=4, learning_rate_multiplier=1.5, seed=41, **given)
    backend = desk.backend()
    backend.validate(order)
    job = submitted(backend, order)
    made = backend._jobs.retrieve(job.provider_id)
    assert made.seed == 41 and made.validation_file
    kind = "dpo" if given["method"] == "dpo" else "supervised"
    wanted = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.5}
    wanted |= {"beta": 0.2} if kind == "dpo" else {}
    assert made.method is not None and made.method.type == kind
    assert getattr(made.method, kind).hyperparameters.to_dict().items() >= wanted.items()
    assert ended(backend, job).status is JobStatus.SUCCEEDED
    assert ("our-own" in backend.fetch(job).served_as) == ("suffix" in given)


def test_reinforcement_grades_by_the_expected_answer(desk: Desk) -> None:
    order = desk.order(method="reinforcement", grader=GRADER, reasoning_effort="low")
    backend = desk.backend()
    backend.validate(order)
    job = submitted(backend, order)
    made = backend._jobs.retrieve(job.provider_id)
    assert made.method is not None and made.method.reinforcement is not None
    assert made.method.reinforcement.grader.to_dict() == GRADER
    line = backend._account.client.files.content(made.training_file).text.splitlines()[0]
    assert '"reference_answer":"billing"' in line and '"assistant"' not in line
    assert ended(backend, job).status is JobStatus.SUCCEEDED


def test_the_account_names_host_organisation_and_project(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
    backend = desk.backend()
    assert backend.account == f"127.0.0.1:{desk.emulator.port} org-ours proj-ours"
    assert backend._jobs.retrieve(submitted(backend, desk.order()).provider_id).organization_id == "org-ours"
    bare = desk.backend(account=OpenAIAccount(f"{desk.emulator.url}/v1", CANARY))
    made = bare._jobs.retrieve(submitted(bare, desk.order()).provider_id)
    assert made.organization_id != "org-of-the-environment"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {"do": "fail_job", "error": {"code": "server_error", "message": "Internal error at step 5"}},
            "Internal error at step 5 (server_error) -> ",
        ),
        (
            {"do": "bad_file", "line": 4},
            "Example 4, message 1 Discriminator 'role' is missing in value"
            " (invalid_training_file, training_file) -> mend the rows",
        ),
    ],
)
def test_a_failed_job_gives_the_services_reason(desk: Desk, fault: dict[str, Any], words: str) -> None:
    desk.emulator.set_faults([{"on": CREATE, **fault}])
    backend = desk.backend()
    view = ended(backend, submitted(backend, desk.order()))
    assert view.status is JobStatus.FAILED
    assert words in view.error


def test_a_job_that_was_cancelled_in_the_console_shows_it(desk: Desk) -> None:
    desk.emulator.set_options(phase_s=60)
    backend = desk.backend()
    job = submitted(backend, desk.order())
    assert backend.poll(job).status is JobStatus.PENDING
    backend._jobs.cancel(job.provider_id)
    assert backend.poll(job).status is JobStatus.CANCELLED
    backend.cancel(job)


def test_cancelling_a_job_that_succeeded_changes_nothing(desk: Desk) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order())
    ended(backend, job)
    backend.cancel(job)
    assert backend.poll(job).status is JobStatus.SUCCEEDED


def test_a_cancel_whose_answer_is_lost_has_cancelled(desk: Desk) -> None:
    desk.emulator.set_options(phase_s=60)
    backend = desk.backend()
    job = submitted(backend, desk.order())
    desk.emulator.set_faults([{"on": "POST /v1/fine_tuning/jobs/*/cancel", "do": "lose_answer"}])
    backend.cancel(job)
    assert backend.poll(job).status is JobStatus.CANCELLED


def test_a_job_rests_and_goes_on(desk: Desk) -> None:
    desk.emulator.set_options(phase_s={"validating": 0.02, "queued": 0.02, "running": 60})
    backend = desk.backend()
    job = submitted(backend, desk.order())
    until(backend, job, lambda view: view.status is JobStatus.RUNNING)
    with pytest.raises(BackendError, match="cannot be resumed"):
        backend.resume(job)
    backend.pause(job)
    assert backend.poll(job) == View(JobStatus.RUNNING, note="paused")
    backend.resume(job)
    assert backend.poll(job) == View(JobStatus.RUNNING)
    backend.cancel(job)
    with pytest.raises(BackendError, match="cannot be paused"):
        backend.pause(job)


def test_curves_are_read_on_while_it_runs_and_whole_at_the_end(desk: Desk) -> None:
    desk.emulator.set_options(phase_s={"validating": 0.02, "queued": 0.02, "running": 3})
    backend = desk.backend()
    job = submitted(backend, desk.order(epochs=20, batch_size=1))
    until(backend, job, lambda view: view.status is JobStatus.RUNNING)
    early = backend.curves(job)
    ended(backend, job)
    whole = backend.curves(job)
    steps = [point.step for point in whole.points]
    assert steps == list(range(1, 321)) and whole.total_steps == 320
    assert len(early.points) < 320 and whole.points[: len(early.points)] == early.points
    names = {"loss", "eval_loss", "mean_token_accuracy", "eval_mean_token_accuracy"}
    assert all(set(point.values) == names for point in whole.points)
    seconds = [point.seconds for point in whole.points]
    assert seconds == sorted(seconds) and 0 <= seconds[-1] <= 10
    assert [point.values for point in desk.backend().curves(job).points] == [p.values for p in whole.points]
    events = "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/events"
    before = desk.emulator.counts()[events]
    assert backend.curves(job) == whole
    assert desk.emulator.counts()[events] == before + 1


def test_curves_come_from_the_result_file_where_events_tell_none(desk: Desk) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order(epochs=3))
    ended(backend, job)
    wanted = [point.values for point in desk.backend().curves(job).points]
    with closing(sqlite3.connect(desk.emulator.folder / "emulator.db")) as db, db:
        db.execute("DELETE FROM events WHERE owner = ?", (job.provider_id,))
    assert [point.values for point in backend.curves(job).points] == wanted


def test_the_model_is_the_last_or_the_best_checkpoint(desk: Desk) -> None:
    backend = desk.backend()
    last, best = (submitted(backend, desk.order(epochs=3, checkpoint=which)) for which in ("last", "best"))
    for job in (last, best):
        ended(backend, job)
    checkpoints = backend.checkpoints(best)
    assert [one.step for one in checkpoints] == sorted({one.step for one in checkpoints})
    chosen = min(checkpoints, key=lambda one: one.loss or 0)
    found = desk.backend().fetch(best)
    assert (found.kind, found.served_as, found.uri) == ("hosted", chosen.model, f"openai:{chosen.model}")
    assert backend.fetch(last).served_as == backend._jobs.retrieve(last.provider_id).fine_tuned_model
    assert found.digest != backend.fetch(last).digest and found == backend.fetch(best)


def test_the_cost_is_the_billed_tokens_at_the_known_price(desk: Desk) -> None:
    own = desk.bench.settings.resolve(OWN_PRICES)
    own.parent.mkdir(exist_ok=True)
    own.write_text(
        "version: 1\nbackends: {127.0.0.1: {models: {gpt-4.1-mini: {training: {sft: 5},"
        " as_of: 2026-11-26, source: this test}}}}\n"
    )
    backend, order = desk.backend(), desk.order(epochs=2)
    job = submitted(backend, order)
    with pytest.raises(TransientError, match="has no model"):
        backend.fetch(job)
    ended(backend, job)
    tokens = backend._jobs.retrieve(job.provider_id).trained_tokens
    assert tokens and backend.fetch(job).cost_usd == pytest.approx(tokens * 5.0 / 1e6)
    assert backend.estimate(order).usd == pytest.approx(tokens * 5.0 / 1e6, rel=0.8)


def test_a_price_that_nobody_said_is_not_known(desk: Desk) -> None:
    desk.emulator.set_options(models={"gpt-unpriced": None})
    backend, order = desk.backend(), desk.order(base_model="gpt-unpriced")
    job = submitted(backend, order)
    ended(backend, job)
    assert backend.fetch(job).cost_usd is None
    estimate = backend.estimate(order)
    assert estimate.usd is None and "not known" in estimate.basis


def test_a_service_without_events_or_checkpoints_trains_all_the_same(desk: Desk) -> None:
    rule = {"do": "refuse", "status": 404, "message": "Invalid URL", "times": None}
    desk.emulator.set_faults([{"on": f"{ONE}/{what}", **rule} for what in ("events", "checkpoints")])
    backend = desk.backend()
    job = submitted(backend, desk.order(checkpoint="best"))
    assert ended(backend, job).status is JobStatus.SUCCEEDED
    assert backend.fetch(job).served_as == backend._jobs.retrieve(job.provider_id).fine_tuned_model
    assert backend.curves(job).points  # of the result file
