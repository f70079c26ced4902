"""Every kind of fault, as the real google-genai and google-cloud-storage meet them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
import requests
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.storage.exceptions import DataCorruption
from google.genai import errors, types

from retune.testing.emulators.process import Running
from tests.contract.emulators.vertex_client import (
    BUCKET,
    CREATE,
    GET,
    LIST,
    MODEL,
    TOKEN,
    UPLOAD,
    chats,
    client_of,
    config_of,
    ended,
    gcs,
    lines,
    names,
    tune,
    until,
    upload,
)

LOST = (httpx.TransportError, requests.RequestException)


def test_a_lost_answer_leaves_one_job_that_its_label_finds(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator)
    vertex_emulator.set_faults([{"on": CREATE, "do": "lose_answer"}])
    with pytest.raises(LOST):
        tune(client, rows, labels={"key": "lost"})
    [job] = vertex_emulator.jobs(key="lost")
    assert names(client.tunings.list(config={"filter": 'labels.key="lost"'})) == [job["id"]]


def test_the_async_client_posts_once_where_retries_are_said(vertex_emulator: Running) -> None:
    rows = upload(vertex_emulator)
    vertex_emulator.set_faults([{"on": CREATE, "do": "lose_answer"}])

    async def create() -> None:
        async with client_of(vertex_emulator).aio as client:
            dataset, config = types.TuningDataset(gcs_uri=rows), config_of(labels={"key": "async"})
            await client.tunings.tune(base_model=MODEL, training_dataset=dataset, config=config)

    with pytest.raises(Exception, match=r"(?i)disconnected|reset|closed|EOF"):
        asyncio.run(create())
    assert len(vertex_emulator.jobs(key="async")) == 1


def test_a_late_commit_shows_up_after_its_time(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator)
    vertex_emulator.set_options(phase_s=60.0)
    vertex_emulator.set_faults([{"on": CREATE, "do": "late_commit", "after_s": 1.0}])
    before = time.time()
    with pytest.raises(LOST):
        tune(client, rows, labels={"key": "late"})
    [counted] = vertex_emulator.jobs(key="late")
    wanted = {"filter": "labels.key=late"}
    assert not names(client.tunings.list(config=wanted)) or time.time() >= before + 1.0
    found = until(lambda: names(client.tunings.list(config=wanted)))
    assert found == [counted["id"]] and time.time() >= before + 1.0
    assert client.tunings.get(name=found[0]).create_time.timestamp() >= before + 1.0


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"do": "refuse", "refusal": "no_quota", "retry_after": 7}, "429 RESOURCE_EXHAUSTED"),
        ({"do": "refuse", "refusal": "no_permission"}, "403 PERMISSION_DENIED"),
        ({"do": "refuse", "refusal": "unavailable"}, "503 UNAVAILABLE"),
        ({"do": "refuse", "status": 400, "message": "no"}, "400 INVALID_ARGUMENT"),
        ({"do": "refuse", "status": 400, "type": "FAILED_PRECONDITION"}, "400 FAILED_PRECONDITION"),
        ({"do": "error"}, "500 INTERNAL"),
    ],
)
def test_a_refused_job_is_not_made(vertex_emulator: Running, rule: dict[str, Any], status: str) -> None:
    client, rows, before = client_of(vertex_emulator), upload(vertex_emulator), len(vertex_emulator.jobs())
    vertex_emulator.set_faults([{"on": CREATE, **rule}])
    with pytest.raises(errors.APIError, match=status) as caught:
        tune(client, rows)
    assert len(vertex_emulator.jobs()) == before
    headers = caught.value.response.headers
    assert headers.get("retry-after") == (str(rule["retry_after"]) if "retry_after" in rule else None)
    assert tune(client, rows).name


def test_an_error_after_the_act_leaves_a_job(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator)
    vertex_emulator.set_faults([{"on": CREATE, "do": "error", "act": True}])
    with pytest.raises(errors.ServerError):
        tune(client, rows, labels={"key": "acted"})
    assert len(vertex_emulator.jobs(key="acted")) == 1


def test_a_hanging_call_ends_by_the_clients_time_out(vertex_emulator: Running) -> None:
    client = client_of(vertex_emulator, project="quiet", timeout_ms=500)
    vertex_emulator.set_faults([{"on": LIST, "do": "hang"}])
    with pytest.raises(LOST):
        list(client.tunings.list())
    assert httpx.get(f"{vertex_emulator.url}/_emulator/counts").json()[LIST] >= 1


def test_a_slow_call_is_answered_in_the_end(vertex_emulator: Running) -> None:
    client = client_of(vertex_emulator)
    made = tune(client, upload(vertex_emulator))
    vertex_emulator.set_faults([{"on": GET, "do": "slow", "after_s": 0.3}])
    before = time.monotonic()
    assert client.tunings.get(name=made.name or "").name == made.name
    assert time.monotonic() - before >= 0.3


def test_a_state_that_nobody_knows_is_said_once(vertex_emulator: Running) -> None:
    client = client_of(vertex_emulator)
    made = tune(client, upload(vertex_emulator))
    vertex_emulator.set_faults([{"on": GET, "do": "unknown_status", "status": "JOB_STATE_DREAMING"}])
    with pytest.warns(UserWarning, match="JOB_STATE_DREAMING"):
        assert client.tunings.get(name=made.name or "").state == "JOB_STATE_DREAMING"
    assert ended(client, made).has_succeeded


def test_a_job_fails_in_the_phase_and_with_the_words_of_the_rule(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator)
    error = {"code": 8, "message": "Out of capacity."}
    vertex_emulator.set_faults(
        [
            {"on": CREATE, "do": "fail_job", "error": error},
            {"on": CREATE, "do": "fail_job", "phase": "queued"},
        ]
    )
    late, early = (ended(client, tune(client, rows, labels={"key": "fails"})) for _ in range(2))
    assert (late.state, late.error.code, late.error.message) == ("JOB_STATE_FAILED", 8, "Out of capacity.")
    assert (early.state, early.error.code, early.start_time) == ("JOB_STATE_FAILED", 13, None)
    billed = {job["id"]: job["billed"] is not None for job in vertex_emulator.jobs(key="fails")}
    assert billed == {late.name: True, early.name: False}


def test_a_bad_file_fails_the_job_and_names_the_row(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator)
    vertex_emulator.set_faults([{"on": CREATE, "do": "bad_file", "line": 3}])
    assert "Row: 3." in ended(client, tune(client, rows)).error.message
    vertex_emulator.set_faults([{"on": UPLOAD, "do": "bad_file", "message": "Row: 9. Too long."}])
    job = ended(client, tune(client, upload(vertex_emulator)))
    assert job.error.code == 3 and "Row: 9. Too long." in job.error.message


def test_half_an_upload_shows_in_size_and_digest(vertex_emulator: Running) -> None:
    data, bucket = lines(chats()), gcs(vertex_emulator).bucket(BUCKET)
    vertex_emulator.set_faults([{"on": "POST /upload/*", "do": "half_upload"}])
    blob = bucket.blob("half.jsonl")
    blob.upload_from_string(data)
    blob.reload()
    assert blob.size == len(data) // 2
    vertex_emulator.set_faults([{"on": "PUT /upload/*", "do": "half_upload"}])
    with pytest.raises(DataCorruption):
        with bucket.blob("half.bin").open("wb", checksum="crc32c") as file:
            file.write(data)


def test_faults_reach_storage_and_the_login_in_their_own_shapes(vertex_emulator: Running) -> None:
    vertex_emulator.set_faults(
        [
            {"on": "GET /storage/v1/b/{bucket}", "do": "refuse", "status": 403, "message": "Not you."},
            {"on": "POST /token", "do": "refuse", "status": 400, "message": "Invalid JWT Signature."},
        ]
    )
    with pytest.raises(GoogleAPICallError, match="403.*Not you"):
        gcs(vertex_emulator).get_bucket(BUCKET)
    answer = httpx.post(f"{vertex_emulator.url}/token", data={"grant_type": "x"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
    )
    whole = httpx.get(
        f"{vertex_emulator.url}/storage/v1/b/{BUCKET}", headers={"authorization": f"Bearer {TOKEN}"}
    )
    assert whole.json()["name"] == BUCKET
