"""Service accounts: a key file, a signed grant, a token; by the real google-auth, and through Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.genai import errors
from google.oauth2 import service_account

from retune.testing.emulators.process import Running
from retune.testing.emulators.vertex_accounts import airflow_extra, service_account_key
from tests.contract.emulators.vertex_client import BUCKET, client_of, gcs, vertex

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
# What a task does: the connection's credentials, handed to both clients.
TASK = f"""
import os
from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
from google import genai
from google.cloud import storage
from google.genai import types
url = os.environ["EMULATOR"]
credentials, project = GoogleBaseHook(gcp_conn_id="emulated").get_credentials_and_project_id()
bucket = storage.Client(project, credentials, client_options={{"api_endpoint": url}}).get_bucket("{BUCKET}")
options = types.HttpOptions(base_url=url)
client = genai.Client(
    vertexai=True, project=project, location="us-central1", credentials=credentials, http_options=options
)
print(project, bucket.name, len(list(client.tunings.list())))
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with vertex(tmp_path_factory.mktemp("vertex")) as found:
        yield found


def credentials_of(key: dict[str, str]) -> service_account.Credentials:
    return service_account.Credentials.from_service_account_info(key, scopes=SCOPES)


def test_a_key_file_opens_both_services(emulator: Running) -> None:
    key = service_account_key(emulator.url, project="acme", name="tuner")
    assert key["client_email"] == "tuner@acme.iam.gserviceaccount.com"
    credentials = credentials_of(key)
    client = client_of(emulator, credentials=credentials)
    assert list(client.tunings.list()) == []
    assert gcs(emulator, credentials).get_bucket(BUCKET).name == BUCKET
    assert credentials.token and emulator.counts()["POST /token"] == 1
    stored = b"".join(path.read_bytes() for path in emulator.folder.glob("emulator.db*"))
    assert credentials.token.encode() not in stored
    assert key["private_key"].encode() not in stored


def test_a_key_that_the_emulator_does_not_know_gets_no_token(emulator: Running) -> None:
    known, other = (service_account_key(emulator.url) for _ in range(2))
    signed_by_another = {**known, "private_key": other["private_key"]}
    unknown = {**known, "private_key_id": "0" * 40}
    renamed = {**known, "client_email": "root@retune.iam.gserviceaccount.com"}
    for key, words in (
        (signed_by_another, "Invalid JWT Signature"),
        (unknown, "account not found"),
        (renamed, "account not found"),
    ):
        with pytest.raises(RefreshError, match=words):
            credentials_of(key).refresh(Request())


def test_a_token_of_nobody_is_refused_by_both_services(emulator: Running) -> None:
    credentials = credentials_of(service_account_key(emulator.url))
    credentials.refresh(Request())
    assert credentials.token
    credentials.token = credentials.token[:-1]
    client = client_of(emulator, credentials=credentials)
    emulator.set_faults(
        [{"on": "POST /token", "do": "refuse", "status": 400, "message": "gone", "times": None}]
    )
    try:
        with pytest.raises((RefreshError, errors.ClientError)):
            list(client.tunings.list())
    finally:
        emulator.set_faults([])


def test_an_airflow_connection_with_the_key_file_works(emulator: Running, tmp_path: Path) -> None:
    key = service_account_key(emulator.url, project="acme")
    connection = f'{{"conn_type": "google_cloud_platform", "extra": {airflow_extra(key)}}}'
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONN_EMULATED": connection,
        "EMULATOR": emulator.url,
    }
    done = subprocess.run(
        [sys.executable, "-c", TASK], env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-3:] == ["acme", BUCKET, "0"]
