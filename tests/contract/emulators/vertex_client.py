"""The real google-genai and google-cloud-storage in front of the emulator, and small data."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google import genai
from google.cloud import storage
from google.genai import types
from google.oauth2.credentials import Credentials

from retune.testing.emulators.process import Running, running

MODEL, OPEN_MODEL = "gemini-2.5-flash", "meta/llama3_1@llama-3.1-8b-instruct"
PROJECT, REGION, BUCKET = "retune", "us-central1", "retune-rows"
TOKEN = "ya29.a-token-that-is-known"
PARENT = "/v1beta1/projects/{project}/locations/{location}/tuningJobs"
CREATE, LIST, GET = f"POST {PARENT}", f"GET {PARENT}", f"GET {PARENT}/{{job}}"
UPLOAD = "POST /upload/storage/v1/b/{bucket}/o"


@contextmanager
def vertex(folder: Path, **given: Any) -> Iterator[Running]:
    """A Vertex AI emulator that lets only our token in, with a bucket."""
    given.setdefault("phase_s", 0.02)
    with running("vertex", folder, api_key=TOKEN, **given) as emulator:
        gcs(emulator).create_bucket(BUCKET)
        yield emulator
        assert emulator.problems() == []


def client_of(emulator: Running, **given: Any) -> genai.Client:
    """The SDK. Without these options its async half posts again where an answer is lost.

    It closes its connections when nothing holds it any more, also while its parts are in use.
    """
    http = types.HttpOptions(
        base_url=emulator.url,
        timeout=given.pop("timeout_ms", 20_000),
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    settings = {
        "project": PROJECT,
        "location": REGION,
        "credentials": Credentials(token=TOKEN),
        **given,
    }
    return genai.Client(vertexai=True, http_options=http, **settings)


def gcs(emulator: Running, credentials: Any = None) -> storage.Client:
    options = {"api_endpoint": emulator.url}
    return storage.Client(PROJECT, credentials or Credentials(token=TOKEN), client_options=options)


def chats(count: int = 16) -> list[dict[str, Any]]:
    return [
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "Answer with a letter."}]},
            "contents": [content("user", f"question {n}"), content("model", "a")],
        }
        for n in range(count)
    ]


def pairs(count: int = 16) -> list[dict[str, Any]]:
    return [
        {
            "contents": [content("user", f"question {n}")],
            "completions": [
                {"score": 1, "completion": content("model", "good")},
                {"score": 0, "completion": content("model", "bad")},
            ],
        }
        for n in range(count)
    ]


def content(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def lines(rows: list[Any]) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def upload(emulator: Running, rows: list[Any] | None = None, bucket: str = BUCKET) -> str:
    """Upload rows and return where they are."""
    name = f"rows/{uuid.uuid4().hex}.jsonl"
    blob = gcs(emulator).bucket(bucket).blob(name)
    blob.upload_from_string(lines(chats() if rows is None else rows), content_type="application/jsonl")
    return f"gs://{bucket}/{name}"


def config_of(**given: Any) -> types.CreateTuningJobConfig:
    if isinstance(given.get("validation_dataset"), str):
        given["validation_dataset"] = types.TuningValidationDataset(gcs_uri=given["validation_dataset"])
    return types.CreateTuningJobConfig(**given)


def tune(client: genai.Client, rows: str, base_model: str = MODEL, **given: Any) -> types.TuningJob:
    dataset = types.TuningDataset(gcs_uri=rows)
    return client.tunings.tune(base_model=base_model, training_dataset=dataset, config=config_of(**given))


def until(condition: Callable[[], Any], within_s: float = 20.0) -> Any:
    """Wait for something true and return it."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return found


def ended(client: genai.Client, job: types.TuningJob) -> types.TuningJob:
    """Wait until a job has ended and return it."""
    assert job.name is not None
    name = job.name

    def look() -> types.TuningJob | None:
        found = client.tunings.get(name=name)
        return found if found.has_ended else None

    found: types.TuningJob = until(look)
    return found


def names(jobs: Any) -> list[str]:
    return [job.name for job in jobs]
