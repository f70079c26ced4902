"""The Vertex AI emulator killed with `kill -9` and started again."""

from __future__ import annotations

from pathlib import Path

import httpx
from google.oauth2 import service_account

from retune.testing.emulators.vertex_accounts import service_account_key
from tests.contract.emulators.vertex_client import (
    BUCKET,
    TOKEN,
    client_of,
    ended,
    gcs,
    names,
    tune,
    upload,
    vertex,
)

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def test_jobs_tokens_objects_and_faults_survive_a_kill(tmp_path: Path) -> None:
    with vertex(tmp_path, phase_s={"running": 30.0}) as emulator:
        credentials = service_account.Credentials.from_service_account_info(
            service_account_key(emulator.url), scopes=SCOPES
        )
        client, rows = client_of(emulator, credentials=credentials), upload(emulator)
        first = tune(client, rows, labels={"n": "1"})
        emulator.set_faults([{"on": "GET *", "do": "error", "times": 1, "id": "once"}])
        emulator.kill()
        emulator.set_options(phase_s=0.02)
        emulator.start()
        headers = {"authorization": f"Bearer {TOKEN}"}
        path = f"{emulator.url}/v1beta1/{first.name}"
        statuses = [httpx.get(path, headers=headers).status_code for _ in range(2)]
        assert statuses == [500, 200]
        emulator.kill()
        emulator.start()
        assert httpx.get(path, headers=headers).status_code == 200
        assert names(client.tunings.list(config={"filter": "labels.n=1"})) == [first.name]
        job = ended(client, first)
        assert job.has_succeeded and job.tuned_model and job.tuned_model.endpoint
        assert client.models.generate_content(model=job.tuned_model.endpoint, contents="which?").text
        assert len(emulator.jobs()) == 1
        assert emulator.counts().get("POST /token") is None


def test_a_resumable_upload_goes_on_after_a_kill(tmp_path: Path) -> None:
    half = b"x" * 256 * 1024
    with vertex(tmp_path) as emulator:
        headers = {"authorization": f"Bearer {TOKEN}"}
        begun = httpx.post(
            f"{emulator.url}/upload/storage/v1/b/{BUCKET}/o",
            params={"uploadType": "resumable", "name": "big.bin"},
            headers=headers,
        )
        session = begun.headers["location"]

        def put(data: bytes, span: str) -> httpx.Response:
            return httpx.put(session, content=data, headers={**headers, "content-range": f"bytes {span}"})

        sent = put(half, f"0-{len(half) - 1}/{2 * len(half)}")
        assert (sent.status_code, sent.headers["range"]) == (308, f"bytes=0-{len(half) - 1}")
        emulator.kill()
        emulator.start()
        asked = put(b"", f"*/{2 * len(half)}")
        assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{len(half) - 1}")
        done = put(half, f"{len(half)}-{2 * len(half) - 1}/{2 * len(half)}")
        assert (done.status_code, done.json()["size"]) == (200, str(2 * len(half)))
        assert gcs(emulator).bucket(BUCKET).blob("big.bin").download_as_bytes() == 2 * half
