"""What the OpenAI backend refuses, and what it makes of the service's refusals."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from retune.backends.base import InDoubtError, TransientError
from retune.backends.openai_refusals import LAST_DAY, posted
from retune.errors import BackendError
from retune.settings import OpenAIAccount
from retune.testing.emulators.process import running
from tests.contract.openai_house import CANARY, CREATE, GRADER, MODEL, Desk, make_desk, no_key_in, submitted
from tests.tuning import make_rows


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
