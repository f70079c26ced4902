"""The Vertex AI emulator in train mode: real trainings, real curves, and answers of what was trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.genai import types
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from retune.artifacts import digest_of_tree
from retune.testing.emulators.process import Running
from retune.testing.vllm_stub import VllmStub
from retune.training.job import JobFolder
from retune.training.lease import is_alive
from tests.contract.emulators.vertex_client import (
    BUCKET,
    MODEL,
    OPEN_MODEL,
    TOKEN,
    client_of,
    content,
    gcs,
    tune,
    until,
    upload,
    vertex,
)
from tests.tuning import make_base, make_rows

WITHIN_S = 180.0
TRAIN_WITH = {"max_length": 128, "batch_size": 4}


@pytest.fixture(scope="module")
def vllm() -> Iterator[VllmStub]:
    with VllmStub(answer=lambda model, prompt: f"{model} says {prompt}") as stub:
        yield stub


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory, vllm: VllmStub) -> Iterator[Running]:
    base = make_base(tmp_path_factory.mktemp("base") / "base")
    options = {"train_base": str(base), "train_with": TRAIN_WITH, "vllm": vllm.url, "phase_s": 0.01}
    with vertex(tmp_path_factory.mktemp("vertex"), **options) as found:
        yield found


def gemini(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """The tiny rows in Gemini's shape."""
    roles = {"user": "user", "assistant": "model"}
    return [
        {"contents": [content(roles[turn["role"]], turn["content"]) for turn in row["messages"]]}
        for row in make_rows(count, offset)
    ]


def folder_of(emulator: Running, job: types.TuningJob) -> JobFolder:
    return JobFolder(emulator.folder / "trainings" / (job.name or "").rpartition("/")[2])


def trained(client: Any, job: types.TuningJob) -> types.TuningJob:
    def look() -> types.TuningJob | None:
        found: types.TuningJob = client.tunings.get(name=job.name)
        return found if found.has_ended else None

    found: types.TuningJob = until(look, WITHIN_S)
    return found


def losses(emulator: Running, job: types.TuningJob) -> dict[str, list[tuple[int, float]]]:
    """Curve -> its points, by documented calls."""
    options = {"api_endpoint": emulator.url}
    service = build(
        "aiplatform",
        "v1beta1",
        credentials=Credentials(token=TOKEN),
        client_options=options,
        cache_discovery=False,
    )
    locations = service.projects().locations()
    experiment = locations.metadataStores().contexts().get(name=job.experiment).execute()
    place = (
        f"{experiment['metadata']['backing_tensorboard_resource']}/experiments/{experiment['displayName']}"
    )
    runs = locations.tensorboards().experiments().runs()
    [run] = runs.list(parent=place).execute()["tensorboardRuns"]
    series = runs.timeSeries()
    return {
        one["displayName"]: [
            (int(point["step"]), point["scalar"]["value"])
            for point in series.read(tensorboardTimeSeries=one["name"]).execute()["timeSeriesData"]["values"]
        ]
        for one in series.list(parent=run["name"]).execute()["tensorboardTimeSeries"]
    }


def test_a_job_really_trains_and_its_endpoint_answers(emulator: Running, vllm: VllmStub) -> None:
    client = client_of(emulator)
    rows, validation = upload(emulator, gemini(16)), upload(emulator, gemini(4, 1000))
    made = tune(client, rows, epoch_count=3, adapter_size="ADAPTER_SIZE_FOUR", validation_dataset=validation)
    job = trained(client, made)
    assert (job.state, job.error) == ("JOB_STATE_SUCCEEDED", None)
    folder, curves = folder_of(emulator, job), losses(emulator, job)
    told = folder.read_progress()
    assert curves["/eval_total_loss"] == [
        (entry["step"], entry["eval_loss"]) for entry in told if "eval_loss" in entry
    ]
    assert {step for step, _ in curves["/train_total_loss"]} == {entry["step"] for entry in told}
    assert folder.read_job().hyperparameters["lora"]["r"] == 4
    assert [point.step for point in job.tuned_model.checkpoints] == [4, 8, 12]
    digest = digest_of_tree(folder.model)
    answer = client.models.generate_content(model=job.tuned_model.endpoint, contents="hi")
    assert (answer.text, answer.candidates[0].finish_reason) == (f"{digest} says hi", "STOP")
    assert client.models.generate_content(model=MODEL, contents="hi").text == "base says hi"
    [seen] = [one for one in emulator.jobs() if one["id"] == job.name]
    assert seen["survives"] and seen["billed"]


def test_preferences_are_trained_on_too(emulator: Running) -> None:
    client = client_of(emulator)
    pairs = [
        {
            "contents": row["contents"][:1],
            "completions": [
                {"score": 0, "completion": content("model", "nothing of that")},
                {"score": 1, "completion": row["contents"][1]},
            ],
        }
        for row in gemini(12)
    ]
    job = trained(client, tune(client, upload(emulator, pairs), method="PREFERENCE_TUNING", epoch_count=1))
    assert (job.state, job.error) == ("JOB_STATE_SUCCEEDED", None)
    assert losses(emulator, job)["/preference_optimization_train_loss"]


def test_the_adapter_of_an_open_model_lies_in_the_bucket(emulator: Running) -> None:
    client = client_of(emulator)
    rows = [{"messages": row["messages"]} for row in make_rows(8)]
    rows += [{"prompt": "Ticket: billing", "completion": "billing"}]
    out = f"gs://{BUCKET}/trained"
    job = trained(client, tune(client, upload(emulator, rows), OPEN_MODEL, epoch_count=1, output_uri=out))
    assert (job.state, job.error) == ("JOB_STATE_SUCCEEDED", None)
    prefix = "trained/postprocess/node-0/checkpoints/final/"
    found = {
        blob.name.removeprefix(prefix): blob.download_as_bytes()
        for blob in gcs(emulator).list_blobs(BUCKET, prefix=prefix)
    }
    kept = {path.name: path.read_bytes() for path in folder_of(emulator, job).model.iterdir()}
    assert found == kept and "adapter_model.safetensors" in kept


def test_cancelling_kills_the_trainer(emulator: Running) -> None:
    client = client_of(emulator)
    made = tune(client, upload(emulator, gemini(200)), epoch_count=50)
    folder = folder_of(emulator, made)
    until(folder.read_progress, WITHIN_S)
    assert client.tunings.get(name=made.name or "").state == "JOB_STATE_RUNNING"
    client.tunings.cancel(name=made.name or "")
    assert trained(client, made).state == "JOB_STATE_CANCELLED"
    until(lambda: not is_alive(folder, 0.0), WITHIN_S)


def test_what_cannot_be_trained_on_is_the_jobs_error(emulator: Running) -> None:
    client = client_of(emulator)
    image = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
    rows = [{"contents": [{"role": "user", "parts": [image]}, content("model", "x")]}]
    job = trained(client, tune(client, upload(emulator, rows)))
    assert (job.state, job.error.code) == ("JOB_STATE_FAILED", 13)
    assert "only text and function calls are learned" in job.error.message
