"""The OpenAI backend before the emulator: what goes wrong, and what it makes of it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from retune.backends import openai_files
from retune.backends.base import (
    ENDED,
    InDoubtError,
    JobGoneError,
    Order,
    TransientError,
    View,
)
from retune.backends.openai_jobs import OpenAIBackend
from retune.backends.openai_refusals import LAST_DAY, posted
from retune.backends.posting import place_order
from retune.errors import BackendError
from retune.prices import OWN_PRICES
from retune.records import Dataset, Job, JobStatus
from retune.settings import OpenAIAccount
from retune.testing.emulators.process import Running, running
from tests.contract.openai_house import CANARY, MODEL, OPENAI_CONTRACT, Desk, make_desk, pairs
from tests.tuning import make_rows

CREATE, JOBS, ONE = (
    "POST /v1/fine_tuning/jobs",
    "GET /v1/fine_tuning/jobs",
    "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}",
)
GRADER = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference_answer }}",
}
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    contract = {"contract": str(OPENAI_CONTRACT)} if OPENAI_CONTRACT.exists() else {}
    with running("openai", tmp_path_factory.mktemp("openai"), **contract) as emulator:
        yield emulator


@pytest.fixture
def emulator(emulated: Running) -> Iterator[Running]:
    emulated.set_faults([])
    emulated.set_options(phase_s=0.02, list_lag_s=0.0, file_s=0.0, models={})
    yield emulated
    assert emulated.problems() == []


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory, emulated: Running) -> Desk:
    return make_desk(tmp_path_factory.mktemp("project"), emulated, settle_s=4.0)


@pytest.fixture
def desk(shared_desk: Desk, emulator: Running) -> Desk:
    return shared_desk


def submitted(backend: OpenAIBackend, order: Order) -> Job:
    return backend.submit(order, lambda: None)


def until(backend: OpenAIBackend, job: Job, reached: Callable[[View], bool]) -> View:
    deadline = time.monotonic() + WITHIN_S
    while not reached(view := backend.poll(job)):
        assert time.monotonic() < deadline, f"still {view}"
        time.sleep(backend.poll_every_s)
    return view


def ended(backend: OpenAIBackend, job: Job) -> View:
    return until(backend, job, lambda view: view.status in ENDED)


def lines_of(desk: Desk, data: Dataset) -> bytes:
    rows = openai_files.rows_of(desk.order(data), "train", desk.bench.artifacts)
    return openai_files.lines_of(rows, "sft")


def no_key_in(error: BaseException | None) -> None:
    """Neither the error nor what it came from holds the key, or anything of the SDK's, which holds it."""
    while error is not None:
        assert CANARY not in f"{error} {error!r} {vars(error)}"
        assert type(error).__module__.split(".")[0] not in ("openai", "httpx", "httpx2", "httpcore")
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("rule", "kind", "words", "wait_s"),
    [
        ({"do": "lose_answer"}, InDoubtError, "gave no answer", None),
        ({"do": "hang"}, InDoubtError, "timed out", None),
        ({"do": "error"}, InDoubtError, "500", None),
        ({"do": "refuse", "status": 503, "act": True}, InDoubtError, "503", None),
        ({"do": "refuse", "status": 408}, InDoubtError, "408", None),
        ({"do": "refuse", "status": 409}, InDoubtError, "409", None),
        ({"do": "refuse", "refusal": "rate_limit", "retry_after": 7}, TransientError, "429", 7.0),
        ({"do": "refuse", "refusal": "no_quota"}, BackendError, "no quota is left", None),
        ({"do": "refuse", "refusal": "wrong_key"}, BackendError, "Incorrect API key", None),
        ({"do": "refuse", "refusal": "not_eligible"}, BackendError, "wound down", None),
        (
            {"do": "refuse", "status": 404, "message": "The model `x` does not exist"},
            BackendError,
            "does not exist",
            None,
        ),
        (
            {"do": "refuse", "status": 400, "message": "File 'f' is no JSONL", "param": "training_file"},
            BackendError,
            "File 'f' is no JSONL (param training_file)",
            None,
        ),
    ],
)
def test_a_failed_create_says_whether_the_job_may_be_there_and_what_to_do(
    desk: Desk, rule: dict[str, Any], kind: type[BackendError], words: str, wait_s: float | None
) -> None:
    desk.emulator.set_faults([{"on": CREATE, **rule}])
    backend, order, posts = desk.backend(), desk.order(), []
    with pytest.raises(BackendError) as caught:
        backend.submit(order, lambda: posts.append(1))
    assert type(caught.value) is kind or (
        kind is BackendError and not isinstance(caught.value, TransientError)
    )
    assert words in str(caught.value)
    assert posts == [1]
    if isinstance(caught.value, TransientError):
        assert caught.value.retry_after_s == wait_s
    else:
        assert all(problem.action for problem in caught.value.problems)
    no_key_in(caught.value)
    made = rule["do"] == "lose_answer" or rule.get("act", False)
    assert len(desk.emulator.jobs(retune_key=order.key)) == made


def test_a_create_that_never_left_leaves_no_doubt(desk: Desk) -> None:
    nobody = OpenAIAccount("http://127.0.0.1:9/v1", CANARY)
    backend = desk.backend(account=nobody)
    create = backend._account.client.fine_tuning.jobs.create
    with pytest.raises(TransientError) as caught:
        posted(backend._account.service, lambda: create(model=MODEL, training_file="file-1"))
    assert not isinstance(caught.value, InDoubtError)
    no_key_in(caught.value)


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


def test_rows_go_up_once_under_the_name_of_their_content(desk: Desk) -> None:
    data = desk.dataset_of(make_rows(12, 5000), make_rows(3, 6000))
    backend = desk.backend()
    before = desk.emulator.counts().get("POST /v1/files", 0)
    first, second = (submitted(backend, desk.order(data)) for _ in range(2))
    assert desk.emulator.counts()["POST /v1/files"] == before + 2
    files = backend._account.client.files
    jobs = [backend._jobs.retrieve(job.provider_id) for job in (first, second)]
    assert jobs[0].training_file == jobs[1].training_file
    assert jobs[0].validation_file == jobs[1].validation_file != jobs[0].training_file
    kept = files.retrieve(jobs[0].training_file)
    lines = openai_files.lines_of(
        openai_files.rows_of(desk.order(data), "train", desk.bench.artifacts), "sft"
    )
    assert kept.filename.startswith("retune-") and kept.bytes == len(lines)
    assert files.content(kept.id).content == lines


@pytest.mark.parametrize("whole_bytes", [openai_files.WHOLE_BYTES, 400], ids=["in one piece", "in parts"])
def test_a_cut_upload_is_started_again(desk: Desk, whole_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_files, "WHOLE_BYTES", whole_bytes)
    route = "POST /v1/files" if whole_bytes > 400 else "POST /v1/uploads/{upload_id}/parts"
    desk.emulator.set_faults([{"on": route, "do": "half_upload"}])
    data = desk.dataset_of(make_rows(14, 7000 + whole_bytes % 900), make_rows(3, 8000))
    backend = desk.backend()
    job = backend._jobs.retrieve(submitted(backend, desk.order(data)).provider_id)
    lines = openai_files.lines_of(
        openai_files.rows_of(desk.order(data), "train", desk.bench.artifacts), "sft"
    )
    files = backend._account.client.files
    assert files.content(job.training_file).content == lines
    name = files.retrieve(job.training_file).filename
    assert [file.id for file in files.list(purpose="fine-tune") if file.filename == name] == [
        job.training_file
    ]


def test_an_upload_that_is_always_cut_is_not_trained_on(desk: Desk) -> None:
    desk.emulator.set_faults([{"on": "POST /v1/files", "do": "half_upload", "times": None}])
    order = desk.order(desk.dataset_of(make_rows(13, 9000), make_rows(3, 9100)))
    with pytest.raises(TransientError, match="did not keep all"):
        desk.backend().submit(order, lambda: pytest.fail("nothing may be posted"))
    assert not desk.emulator.jobs(retune_key=order.key)


def test_a_file_that_is_refused_is_shown_in_the_services_words_and_not_used_again(desk: Desk) -> None:
    fault = {"on": "POST /v1/files", "do": "bad_file", "message": "Line 3 is not a dictionary"}
    desk.emulator.set_faults([fault])
    order = desk.order(desk.dataset_of(make_rows(13, 9200), make_rows(3, 9300)))
    with pytest.raises(BackendError, match="Line 3 is not a dictionary") as caught:
        desk.backend().submit(order, lambda: pytest.fail("nothing may be posted"))
    assert not isinstance(caught.value, TransientError)
    submitted(desk.backend(), order)


def test_a_file_is_waited_for_until_it_is_processed(desk: Desk) -> None:
    desk.emulator.set_options(file_s=0.7)
    order = desk.order(desk.dataset_of(make_rows(13, 9400), make_rows(3, 9500)))
    assert ended(desk.backend(), submitted(desk.backend(), order)).status is JobStatus.SUCCEEDED


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


def test_all_that_is_wrong_is_said_together(desk: Desk) -> None:
    rows = make_rows(9)
    rows[4]["messages"][0]["content"] = ""
    bad = desk.dataset_of(rows, make_rows(2, 50))
    grader = {**GRADER, "operation": "nearly"}
    order = desk.order(bad, "gpt-4.1-mini", method="reinforcement", grader=grader, checkpoint="best")
    with pytest.raises(BackendError) as caught:
        desk.backend().validate(order)
    said = str(caught.value)
    assert "train:5: OpenAI reinforcement: turn 0 of the user is empty" in said
    assert "base model 'gpt-4.1-mini' is retired or unknown" in said and MODEL in said
    assert "grader: " in said and "nearly" in said
    assert "checkpoint: last" in said


def test_a_retired_model_is_refused_in_the_services_words(desk: Desk) -> None:
    with pytest.raises(BackendError, match="has been deprecated"):
        desk.backend().validate(desk.order(base_model="gpt-3.5-turbo-0613"))


def test_a_model_that_ends_soon_is_warned_of(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    end = (datetime.now(UTC) + timedelta(days=9)).date()
    desk.emulator.set_options(models={"gpt-brief": end.isoformat()})
    with caplog.at_level(logging.WARNING):
        desk.backend().validate(desk.order(base_model="gpt-brief"))
    assert f"gpt-brief is shut down on {end}" in caplog.text
    after = desk.backend(clock=lambda: datetime.now(UTC) + timedelta(days=9))
    with pytest.raises(BackendError, match=f"was shut down on {end}"):
        after.validate(desk.order(base_model="gpt-brief"))


def test_a_busy_service_does_not_hide_what_is_wrong_with_the_rows(desk: Desk) -> None:
    desk.emulator.set_faults([{"on": "GET /v1/models", "do": "error", "times": 2}])
    with pytest.raises(BackendError, match="at least 10 are needed") as caught:
        desk.backend().validate(desk.order(desk.dataset_of(make_rows(3), make_rows(2, 9))))
    assert not isinstance(caught.value, TransientError)
    with pytest.raises(TransientError, match="500"):
        desk.backend().validate(desk.order())


def test_a_wrong_key_is_refused_before_anything_is_uploaded(tmp_path: Path) -> None:
    with running("openai", tmp_path / "openai", api_key="sk-right-0123456789abcdef") as emulator:
        desk = make_desk(tmp_path / "project", emulator)
        with pytest.raises(
            BackendError, match=r"does not take the key.*connection 'openai_default'"
        ) as caught:
            desk.backend().validate(desk.order())
        no_key_in(caught.value)
        assert CANARY[:8] not in str(caught.value) and CANARY[-4:] not in str(caught.value)
        assert set(emulator.counts()) == {"GET /v1/models"}


def test_after_openais_last_day_its_jobs_are_refused_without_a_request(desk: Desk) -> None:
    # No such request could be answered: the address is OpenAI's own.
    closed = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day + 1, tzinfo=UTC)
    openai = OpenAIAccount("https://api.openai.com/v1", CANARY)
    order = desk.order(desk.dataset_of(make_rows(3), make_rows(2, 9)))
    with pytest.raises(BackendError) as caught:
        desk.backend(account=openai, clock=lambda: closed).validate(order)
    said = str(caught.value)
    assert "6 January 2027" in said and "base_url" in said and "vertex" in said and "local" in said
    assert "at least 10 are needed" in said


def test_another_service_goes_on_after_openais_last_day(desk: Desk) -> None:
    azure = OpenAIAccount(f"{desk.emulator.url}/v1/", CANARY)
    backend = desk.backend(account=azure, clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))
    order = desk.order()
    backend.validate(order)
    job = submitted(backend, order)
    assert job.url == f"{desk.emulator.url}/v1/fine_tuning/jobs/{job.provider_id}"
    assert backend.account == f"127.0.0.1:{desk.emulator.port}"
    assert "at 127.0.0.1 is not known" in backend.estimate(order).basis


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


def test_a_vanished_job_is_gone(desk: Desk) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order())
    desk.emulator.store.remove("job", job.provider_id)
    for ask in (backend.poll, backend.curves, backend.cancel, backend.fetch, backend.checkpoints):
        with pytest.raises(JobGoneError, match=job.provider_id):
            ask(job)


@pytest.mark.parametrize("strict", [True, False])
def test_an_unknown_status_is_a_failed_poll(desk: Desk, strict: bool) -> None:
    backend = desk.backend(strict=strict)
    job = submitted(backend, desk.order())
    desk.emulator.set_faults([{"on": ONE, "do": "unknown_status", "status": "on_hold"}])
    with pytest.raises(TransientError):
        backend.poll(job)
    assert ended(backend, job).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_poll_that_is_put_off_says_for_how_long(desk: Desk, status: int) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order())
    desk.emulator.set_faults([{"on": ONE, "do": "refuse", "status": status, "retry_after": 11}])
    with pytest.raises(TransientError) as caught:
        backend.poll(job)
    assert caught.value.retry_after_s == 11.0


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


def test_many_jobs_are_polled_by_one_list(desk: Desk) -> None:
    desk.emulator.set_options(phase_s=600)
    backend = desk.backend()
    mine = submitted(backend, desk.order())
    training = backend._jobs.retrieve(mine.provider_id).training_file
    ids = [backend._jobs.create(model=MODEL, training_file=training).id for _ in range(500)]
    jobs = [mine.model_copy(update={"key": f"key {name}", "provider_id": name}) for name in ids]
    before = desk.emulator.counts()
    views = asyncio.run(backend.poll_many(jobs))
    after = desk.emulator.counts()
    assert views == {job.key: View(JobStatus.PENDING) for job in jobs}
    assert after[JOBS] - before.get(JOBS, 0) == 5
    assert after.get(ONE, 0) == before.get(ONE, 0)


def test_jobs_that_the_list_does_not_show_are_asked_for_one_by_one(desk: Desk) -> None:
    desk.emulator.set_options(list_lag_s=600, phase_s=600)
    backend = desk.backend(strict=False)
    jobs = [submitted(backend, desk.order()) for _ in range(4)]
    desk.emulator.store.remove("job", jobs[0].provider_id)
    place = f"GET /v1/fine_tuning/jobs/{jobs[1].provider_id}"
    busy = {"on": place, "do": "refuse", "status": 429, "retry_after": 9}
    odd = {"on": f"GET /v1/fine_tuning/jobs/{jobs[2].provider_id}", "do": "unknown_status"}
    desk.emulator.set_faults([busy, odd])
    views = asyncio.run(backend.poll_many(jobs))
    assert isinstance(views[jobs[0].key], JobGoneError)
    late = views[jobs[1].key]
    assert isinstance(late, TransientError) and late.retry_after_s == 9.0
    unknown = views[jobs[2].key]
    assert isinstance(unknown, TransientError) and "on_hold" in str(unknown)
    assert views[jobs[3].key] == View(JobStatus.PENDING)


def test_a_list_that_is_put_off_says_for_how_long(desk: Desk) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order())
    desk.emulator.set_faults([{"on": JOBS, "do": "refuse", "refusal": "rate_limit", "retry_after": 13}])

    async def twice() -> None:
        with pytest.raises(TransientError) as caught:
            await backend.poll_many([job])
        assert caught.value.retry_after_s == 13.0
        no_key_in(caught.value)
        client = await backend._account.client_of_loop()
        assert isinstance((await backend.poll_many([job]))[job.key], View)
        assert await backend._account.client_of_loop() is client

    asyncio.run(twice())


def test_a_service_without_events_or_checkpoints_trains_all_the_same(desk: Desk) -> None:
    rule = {"do": "refuse", "status": 404, "message": "Invalid URL", "times": None}
    desk.emulator.set_faults([{"on": f"{ONE}/{what}", **rule} for what in ("events", "checkpoints")])
    backend = desk.backend()
    job = submitted(backend, desk.order(checkpoint="best"))
    assert ended(backend, job).status is JobStatus.SUCCEEDED
    assert backend.fetch(job).served_as == backend._jobs.retrieve(job.provider_id).fine_tuned_model
    assert backend.curves(job).points  # of the result file


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/html", b"<html>busy</html>")]
    + [("application/json", body) for body in (b"{}", b"[]", b"null", b'{"id": "ftjo')],
)
@pytest.mark.parametrize("strict", [True, False])
def test_an_answer_of_something_in_between_is_never_taken_for_the_services(
    desk: Desk, content_type: str, body: bytes, strict: bool
) -> None:
    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    job = submitted(desk.backend(), desk.order())
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        Thread(target=server.serve_forever).start()
        account = OpenAIAccount(f"http://127.0.0.1:{server.server_address[1]}/v1", CANARY)
        backend = desk.backend(account=account, strict=strict)
        create = backend._jobs.create
        try:
            for look in (backend.poll, backend.curves, backend.fetch, backend.cancel, backend.checkpoints):
                with pytest.raises(TransientError):
                    look(job)
            for ask in (backend.find, backend.validate, lambda order: backend.submit(order, lambda: None)):
                with pytest.raises(TransientError):
                    ask(desk.order())
            with pytest.raises(TransientError):
                asyncio.run(backend.poll_many([job]))
            with pytest.raises(InDoubtError):
                posted(backend._account.service, lambda: create(model=MODEL, training_file="file-1"))
        finally:
            server.shutdown()


def test_the_key_is_in_no_repr_and_in_no_handle(desk: Desk) -> None:
    backend, order = desk.backend(), desk.order()
    job = submitted(backend, order)
    named = OpenAIAccount(f"http://ann:{CANARY}@127.0.0.1:{desk.emulator.port}/v1", CANARY)
    assert desk.backend(account=named)._handle(order, job.provider_id).url == job.url
    shown = f"{backend!r} {backend._account!r} {backend._account.service!r} {job!r} {backend.account}"
    assert CANARY not in shown
