"""What Vertex AI refuses, in Google's shapes, and jobs that fail over their data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.genai import errors

from retune.testing.emulators.process import Running
from tests.contract.emulators.vertex_client import (
    BUCKET,
    MODEL,
    OPEN_MODEL,
    TOKEN,
    chats,
    client_of,
    content,
    ended,
    gcs,
    pairs,
    tune,
    upload,
    vertex,
)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with vertex(tmp_path_factory.mktemp("vertex")) as found:
        yield found


@pytest.fixture(scope="module")
def rows(emulator: Running) -> str:
    return upload(emulator)


def refused(emulator: Running, rows: str, *args: str, location: str = "us-central1", **given: Any) -> str:
    """Ask for a job that is refused, and return the error."""
    before = len(emulator.jobs())
    client = client_of(emulator, location=location)
    with pytest.raises(errors.APIError) as caught:
        tune(client, rows, *args, **given)
    assert len(emulator.jobs()) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"base_model": "gemini-9-ultra"}, "400 INVALID_ARGUMENT", "gemini-9-ultra is not supported"),
        ({"location": "global"}, "400 FAILED_PRECONDITION", "does not support global"),
        (
            {"base_model": "gemini-3.5-flash", "location": "europe-north1"},
            "400 FAILED_PRECONDITION",
            "europe-north1. Supported: us-central1, europe-west4",
        ),
        (
            {"adapter_size": "ADAPTER_SIZE_THIRTY_TWO"},
            "400 INVALID_ARGUMENT",
            "The adapter size is not supported for this base model.",
        ),
        ({"base_model": OPEN_MODEL}, "400 INVALID_ARGUMENT", "tuning_job.output_uri"),
        ({"epoch_count": 0}, "400 INVALID_ARGUMENT", "hyper_parameters.epoch_count"),
        ({"learning_rate_multiplier": -1.0}, "400 INVALID_ARGUMENT", "learning_rate_multiplier"),
        ({"labels": {"Key": "x"}}, "400 INVALID_ARGUMENT", "label key 'Key'"),
        ({"labels": {"key": "X"}}, "400 INVALID_ARGUMENT", "label value 'X'"),
        ({"tuned_model_display_name": "x" * 129}, "400 INVALID_ARGUMENT", "128 characters"),
        ({"validation_dataset": f"gs://{BUCKET}/rows.csv"}, "400 INVALID_ARGUMENT", "of type JSONL"),
        ({"validation_dataset": f"gs://{BUCKET}/no.jsonl"}, "400 INVALID_ARGUMENT", "Cannot find"),
        ({"base_model": "projects/1/locations/x/models/7@1"}, "404 NOT_FOUND", "models/7@1"),
        ({"method": "DISTILLATION"}, "501", "distillationSpec"),
    ],
)
def test_a_job_that_cannot_be_made_is_refused(
    emulator: Running, rows: str, given: dict[str, Any], status: str, words: str
) -> None:
    error = refused(emulator, rows, **given)
    assert status in error and words in error


def test_a_model_is_refused_from_its_shutdown_date_on(emulator: Running, rows: str) -> None:
    emulator.set_options(models={"gemini-2.5-pro": "2020-01-01", "gemini-4-mini": None})
    assert "gemini-2.5-pro is not supported" in refused(emulator, rows, "gemini-2.5-pro")
    client = client_of(emulator)
    assert tune(client, rows, "gemini-4-mini").base_model == "gemini-4-mini"
    emulator.set_options(models={})
    assert tune(client, rows, "gemini-2.5-pro").base_model == "gemini-2.5-pro"


def test_a_bucket_that_the_tuning_service_may_not_read_is_refused(emulator: Running) -> None:
    bucket = gcs(emulator).bucket("closed")
    bucket.labels = {"retune-denies": "tuning"}
    bucket.create()
    error = refused(emulator, upload(emulator, bucket="closed"))
    assert "403 PERMISSION_DENIED" in error
    assert "@gcp-sa-vertex-tune.iam.gserviceaccount.com does not have storage.objects.get access" in error


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"{not json", "Row: 17. The line is not a valid JSON object."),
        ({"contents": []}, "Row: 17. Missing required field 'contents'."),
        ({"contents": [{"role": "user"}]}, "'contents[0].parts'"),
        ({"contents": [content("system", "x"), content("model", "y")]}, "Invalid role 'system'"),
        ({"contents": [content("user", "x")]}, "must have the role 'model'"),
        ({"contents": [{"role": "user", "parts": 7}, content("model", "y")]}, "shape of an example"),
    ],
)
def test_a_malformed_line_fails_the_job_and_is_named(emulator: Running, bad: Any, words: str) -> None:
    rows, client = upload(emulator, [*chats(16), bad]), client_of(emulator)
    job = ended(client, tune(client, rows))
    assert (job.state, job.error.code, job.tuned_model) == ("JOB_STATE_FAILED", 3, None)
    assert rows in job.error.message and words in job.error.message
    validated = ended(client, tune(client, upload(emulator), validation_dataset=rows))
    assert words in validated.error.message


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({**pairs(1)[0], "completions": []}, "exactly two completions"),
        ({**pairs(1)[0], "completions": pairs(1)[0]["completions"][:1] * 2}, "1 and 0"),
        ({**pairs(1)[0], "contents": [content("model", "x")]}, "must have the role 'user'"),
    ],
)
def test_a_malformed_pair_is_named_too(emulator: Running, bad: Any, words: str) -> None:
    client = client_of(emulator)
    job = ended(client, tune(client, upload(emulator, [bad]), method="PREFERENCE_TUNING"))
    assert job.error.code == 3 and words in job.error.message


def test_an_empty_dataset_and_too_long_a_validation_fail_the_job(emulator: Running, rows: str) -> None:
    client = client_of(emulator)
    empty = ended(client, tune(client, upload(emulator, [b""])))
    assert "no examples" in empty.error.message
    long = ended(client, tune(client, rows, validation_dataset=upload(emulator, chats(5001))))
    assert "at most 5000" in long.error.message


def post(emulator: Running, body: Any, **given: Any) -> httpx.Response:
    path = f"{emulator.url}/v1beta1/projects/retune/locations/us-central1/tuningJobs"
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.post(path, headers=headers, json=body, **given)


def test_what_does_not_fit_the_message_is_refused_by_field(emulator: Running, rows: str) -> None:
    spec = {"trainingDatasetUri": rows, "hyperParameters": {"epochCount": "many", "adapterSize": "HUGE"}}
    answer = post(emulator, {"baseModel": 7, "supervisedTuningSpec": {**spec, "speed": 1}})
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    [details] = error["details"]
    fields = {violation["field"] for violation in details["fieldViolations"]}
    place = "tuning_job.supervised_tuning_spec"
    assert fields == {
        "tuning_job.base_model",
        place,
        f"{place}.hyper_parameters.epoch_count",
        f"{place}.hyper_parameters.adapter_size",
    }
    assert f"Unknown name \"speed\" at '{place}': Cannot find field." in error["message"]
    two = post(emulator, {"baseModel": MODEL, "supervisedTuningSpec": {}, "preferenceOptimizationSpec": {}})
    assert "tuning_spec" in two.json()["error"]["message"]
    none = post(emulator, [1])
    assert none.status_code == 400 and "Invalid JSON payload" in none.json()["error"]["message"]


def test_both_spellings_of_a_field_and_numbers_as_text_are_read(emulator: Running, rows: str) -> None:
    spec = {"training_dataset_uri": rows, "hyper_parameters": {"epoch_count": "2", "adapterSize": 1}}
    answer = post(emulator, {"base_model": MODEL, "supervised_tuning_spec": spec, "state": None, "name": "x"})
    job = answer.json()
    assert job["supervisedTuningSpec"]["hyperParameters"] == {
        "epochCount": "2",
        "adapterSize": "ADAPTER_SIZE_ONE",
        "learningRateMultiplier": 1.0,
    }
    assert job["name"].startswith("projects/")


def test_a_wrong_token_and_none_are_refused(emulator: Running) -> None:
    path = f"{emulator.url}/v1beta1/projects/retune/locations/us-central1/tuningJobs"
    wrong = httpx.get(path, headers={"authorization": "Bearer ya29.wrong"})
    assert (wrong.status_code, wrong.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    [info] = wrong.json()["error"]["details"]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert info["metadata"] == {"service": "aiplatform.googleapis.com"}
    none = httpx.get(path)
    assert (none.status_code, none.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    bucket = httpx.get(f"{emulator.url}/storage/v1/b/{BUCKET}", headers={"authorization": "Bearer x"})
    assert bucket.json()["error"]["errors"][0]["reason"] == "authError"
