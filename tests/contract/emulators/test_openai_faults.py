"""Every kind of fault, restarts, lag and late commits, as the real SDK meets them."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest

from retune.testing.emulators.openai_errors import named
from retune.testing.emulators.process import Running
from tests.contract.emulators.conftest import Start
from tests.contract.emulators.openai_client import (
    MODEL,
    client_of,
    create,
    ended,
    messages,
    until,
    upload,
)

CREATE = "POST /v1/fine_tuning/jobs"


def test_a_lost_answer_leaves_a_job_and_the_sdks_retries_make_twins(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    file = upload(client)
    openai_emulator.set_faults([{"on": CREATE, "times": 2, "do": "lose_answer"}])
    with pytest.raises(openai.APIConnectionError):
        create(client, training_file=file, metadata={"key": "lost"})
    assert len(openai_emulator.jobs(key="lost")) == 1
    retrying = client_of(openai_emulator, max_retries=2)
    create(retrying, training_file=file, metadata={"key": "twins"})
    twins = openai_emulator.jobs(key="twins")
    assert len(twins) == 2
    for job in twins:
        ended(client, job["id"])
    assert [job["billed"] is not None for job in openai_emulator.jobs(key="twins")] == [True, True]


def test_a_late_commit_shows_up_after_its_time(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    file = upload(client)
    openai_emulator.set_options(phase_s=60)
    openai_emulator.set_faults([{"on": CREATE, "do": "late_commit", "after_s": 1.0}])
    before = time.time()
    with pytest.raises(openai.APIConnectionError):
        create(client, training_file=file, metadata={"key": "late"})
    [counted] = openai_emulator.jobs(key="late")
    found = client.fine_tuning.jobs.list(metadata={"key": "late"}).data
    assert not found or time.time() >= before + 1.0
    [job] = until(lambda: client.fine_tuning.jobs.list(metadata={"key": "late"}).data)
    assert job.id == counted["id"] and time.time() >= before + 1.0
    assert client.fine_tuning.jobs.retrieve(job.id).created_at >= int(before + 1.0)


def test_lists_lag_behind_while_the_job_itself_can_be_read(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    openai_emulator.set_options(list_lag_s=1.0, phase_s=60)
    before = time.time()
    made = create(client, metadata={"key": "lag"})
    assert client.fine_tuning.jobs.retrieve(made.id).id == made.id
    found = client.fine_tuning.jobs.list(metadata={"key": "lag"}).data
    assert not found or time.time() >= before + 1.0
    until(lambda: client.fine_tuning.jobs.list(metadata={"key": "lag"}).data)
    assert time.time() >= before + 1.0


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("no_quota", openai.RateLimitError),
        ("rate_limit", openai.RateLimitError),
        ("not_eligible", openai.PermissionDeniedError),
        ("wrong_key", openai.AuthenticationError),
    ],
)
def test_a_refusal_by_name_has_openais_shape(
    openai_emulator: Running, name: str, error: type[openai.APIStatusError]
) -> None:
    client = client_of(openai_emulator)
    file = upload(client)
    openai_emulator.set_faults([{"on": CREATE, "do": "refuse", "refusal": name, "retry_after": 7}])
    with pytest.raises(error) as caught:
        create(client, training_file=file, metadata={"key": name})
    assert caught.value.code == named(name).code
    assert caught.value.response.headers["retry-after"] == "7"
    assert openai_emulator.jobs(key=name) == []
    create(client, training_file=file, metadata={"key": name})


def test_a_refusal_in_words_of_ones_own(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    rule = {
        "on": "GET /v1/models",
        "do": "refuse",
        "status": 400,
        "message": "No.",
        "code": "c",
        "param": "p",
    }
    openai_emulator.set_faults([rule])
    with pytest.raises(openai.BadRequestError, match="No.") as caught:
        client.models.list()
    assert (caught.value.code, caught.value.param, caught.value.type) == ("c", "p", "invalid_request_error")


def test_an_error_before_or_after_acting(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    file = upload(client)
    openai_emulator.set_faults(
        [{"on": CREATE, "do": "error"}, {"on": CREATE, "do": "error", "status": 503, "act": True}]
    )
    for key, made in (("before", 0), ("after", 1)):
        with pytest.raises(openai.InternalServerError):
            create(client, training_file=file, metadata={"key": key})
        assert len(openai_emulator.jobs(key=key)) == made


def test_a_hanging_request_never_answers_and_the_rest_goes_on(openai_emulator: Running) -> None:
    openai_emulator.set_faults([{"on": "GET /v1/models", "do": "hang"}])
    with pytest.raises(openai.APITimeoutError):
        client_of(openai_emulator, timeout=0.3).models.list()
    assert client_of(openai_emulator).models.list().data


def test_a_slow_answer_comes_late(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    openai_emulator.set_faults([{"on": "GET /v1/models", "do": "slow", "after_s": 0.3}])
    before = time.monotonic()
    client.models.list()
    assert time.monotonic() - before >= 0.3


def test_half_an_upload_is_seen_by_its_size(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    openai_emulator.set_faults(
        [
            {"on": "POST /v1/files", "do": "half_upload"},
            {"on": "POST /v1/uploads/{upload_id}/parts", "do": "half_upload"},
        ]
    )
    data = b"x" * 100
    assert client.files.create(file=("a.jsonl", data), purpose="fine-tune").bytes == 50
    new: Any = {"bytes": 100, "filename": "a.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    with pytest.raises(openai.BadRequestError, match="50 bytes, but 100"):
        client.uploads.upload_file_chunked(file=data, **new)


def test_an_unknown_status_is_said_once_and_only_then(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    made = create(client)
    openai_emulator.set_faults(
        [
            {
                "on": "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}",
                "do": "unknown_status",
                "status": "dreaming",
            }
        ]
    )
    with pytest.raises(openai.APIResponseValidationError):
        client.fine_tuning.jobs.retrieve(made.id)
    assert client.fine_tuning.jobs.retrieve(made.id).status != "dreaming"


def test_a_job_fails_as_told(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    error = {"code": "exceeded_quota", "message": "Creating this job would exceed your quota."}
    openai_emulator.set_faults([{"on": CREATE, "do": "fail_job", "error": error}])
    job = ended(client, create(client).id)
    assert job.error and (job.error.code, job.error.message) == (error["code"], error["message"])
    assert "Fine-tuning job started" in messages(client, job.id)


def test_a_bad_file_is_found_at_the_job_or_at_the_upload(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    openai_emulator.set_faults(
        [
            {"on": CREATE, "do": "bad_file", "line": 41},
            {"on": "POST /v1/files", "skip": 1, "do": "bad_file", "message": "Line 3 is damaged."},
        ]
    )
    job = ended(client, create(client).id)
    assert job.error and "Example 41" in job.error.message
    damaged = client.files.retrieve(upload(client))
    assert (damaged.status, damaged.status_details) == ("error", "Line 3 is damaged.")
    job = ended(client, create(client, training_file=damaged.id).id)
    assert job.error and "Line 3 is damaged." in job.error.message
    assert "Fine-tuning job started" not in messages(client, job.id)


def test_a_kill_and_restart_keeps_all(start: Start) -> None:
    emulator = start(phase_s=60)
    client = client_of(emulator)
    file = upload(client)
    emulator.set_faults([{"on": CREATE, "skip": 1, "times": 2, "do": "error"}])
    kept = create(client, training_file=file, metadata={"key": "kept"})
    with pytest.raises(openai.InternalServerError):
        create(client, training_file=file)
    before = [event.id for event in client.fine_tuning.jobs.list_events(kept.id)]
    emulator.kill()
    with pytest.raises(openai.APIConnectionError):
        client.models.list()
    emulator.start()
    client = client_of(emulator)
    assert client.fine_tuning.jobs.retrieve(kept.id) == kept
    assert [event.id for event in client.fine_tuning.jobs.list_events(kept.id)] == before
    assert client.files.content(file).read()
    with pytest.raises(openai.InternalServerError):  # the rule had fired once of twice
        create(client, training_file=file)
    create(client, training_file=file)
    assert len(emulator.jobs()) == 2
    emulator.set_options(phase_s=0.01)
    assert ended(client, kept.id).status == "succeeded"
    assert [job["billed"] is not None for job in emulator.jobs(key="kept")] == [True]
    assert emulator.problems() == []


def test_what_was_answered_survives_a_kill_at_any_moment(start: Start) -> None:
    emulator = start(phase_s=60)
    file = upload(client_of(emulator))
    answered: list[str] = []

    def post() -> None:
        client = client_of(emulator)
        with suppress(openai.APIConnectionError):
            while True:
                answered.append(create(client, training_file=file).id)

    for _ in range(3):
        posting = threading.Thread(target=post)
        before = len(answered)
        posting.start()
        until(lambda before=before: len(answered) > before + 5)
        emulator.kill()
        posting.join()
        emulator.start()
        kept = {job["id"] for job in emulator.jobs()}
        assert set(answered) <= kept == set(emulator.store.creations())
        assert len(kept) <= len(answered) + 3
    assert emulator.problems() == []


def test_a_job_moves_on_while_the_emulator_is_down(start: Start) -> None:
    emulator = start(phase_s=0.05)
    client = client_of(emulator)
    made, at = create(client), time.time()
    emulator.kill()
    emulator.start()
    until(lambda: time.time() > at + 3 * 0.05)
    assert client_of(emulator).fine_tuning.jobs.retrieve(made.id).status == "succeeded"
    assert "Fine-tuning job started" in messages(client_of(emulator), made.id)


def test_an_answer_against_the_contract_is_caught(start: Start, openai_contract: object) -> None:
    emulator = start(models={"broken": "soon"})
    with pytest.raises(openai.InternalServerError, match="breaks the contract"):
        client_of(emulator).models.retrieve("broken")
    [problem] = emulator.problems()
    assert "shutdown_date" in problem and "soon" in problem
    emulator.kill()
    emulator.start()
    assert emulator.problems() == [problem]


def test_rules_that_cannot_be_read_are_said_loudly(start: Start) -> None:
    emulator = start()
    (emulator.folder / "faults.json").write_text('[{"on": "GET /v1/models", "do": "explode"}]')
    with pytest.raises(openai.InternalServerError, match="explode"):
        client_of(emulator).models.list()


def test_requests_are_counted_by_route(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    url = f"{openai_emulator.url}/_emulator/counts"
    httpx.delete(url, trust_env=False).raise_for_status()
    for _ in range(3):
        client.models.retrieve(MODEL)
    assert openai_emulator.counts() == {"GET /v1/models/{model}": 3}
