"""Tuning jobs at Vertex AI, from the dataset in a bucket to the tuned model's answer, by the real SDK."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.genai import errors, types

from retune.testing.emulators.process import Running
from tests.contract.emulators.vertex_client import (
    BUCKET,
    GET,
    MODEL,
    OPEN_MODEL,
    client_of,
    config_of,
    ended,
    gcs,
    names,
    pairs,
    tune,
    until,
    upload,
)

STATES = [state.value for state in types.JobState]


def test_a_job_lives_from_the_bucket_to_an_answer(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator)
    vertex_emulator.set_options(phase_s=60.0)
    made = tune(
        client,
        rows,
        epoch_count=2,
        adapter_size="ADAPTER_SIZE_EIGHT",
        learning_rate_multiplier=0.5,
        validation_dataset=rows,
        tuned_model_display_name="tickets",
        labels={"retune-key": "abc"},
    )
    assert made.state == "JOB_STATE_QUEUED"
    vertex_emulator.set_options(phase_s={"validating": 0.0, "queued": 60.0})
    assert client.tunings.get(name=made.name or "").state == "JOB_STATE_PENDING"
    vertex_emulator.set_options(phase_s={"validating": 0.0, "queued": 0.0, "running": 60.0})
    running = client.tunings.get(name=made.name or "")
    assert (running.state, running.tuned_model, running.end_time) == ("JOB_STATE_RUNNING", None, None)
    vertex_emulator.set_options(phase_s=0.02)
    job = ended(client, made)
    assert (job.has_succeeded, job.base_model, job.tuned_model_display_name) == (True, MODEL, "tickets")
    assert job.labels == {"retune-key": "abc"}
    assert job.create_time <= job.start_time < job.end_time == job.update_time
    hyper = job.supervised_tuning_spec.hyper_parameters
    assert (hyper.epoch_count, hyper.adapter_size, hyper.learning_rate_multiplier) == (
        2,
        "ADAPTER_SIZE_EIGHT",
        0.5,
    )
    stats = job.tuning_data_stats.supervised_tuning_data_stats
    assert (stats.tuning_dataset_example_count, stats.tuning_step_count) == (16, 4)
    assert stats.total_billable_token_count == (
        stats.user_input_token_distribution.sum + stats.user_output_token_distribution.sum
    )
    first, last = job.tuned_model.checkpoints
    assert (first.checkpoint_id, first.epoch, first.step) == ("1", 1, 2)
    assert (last.checkpoint_id, last.epoch, last.step) == ("2", 2, 4)
    assert job.tuned_model.endpoint == last.endpoint != first.endpoint
    answers = {
        client.models.generate_content(model=model, contents="which?").text
        for model in (MODEL, first.endpoint, last.endpoint, last.endpoint)
    }
    assert len(answers) == 3
    [seen] = [one for one in vertex_emulator.jobs(**{"retune-key": "abc"})]
    assert (seen["id"], seen["survives"], seen["status"]) == (job.name, True, "JOB_STATE_SUCCEEDED")
    assert seen["billed"] == 2 * stats.total_billable_token_count


def test_the_async_client_drives_a_job_too(vertex_emulator: Running) -> None:
    rows = upload(vertex_emulator)

    async def live() -> types.TuningJob:
        async with client_of(vertex_emulator).aio as client:
            dataset = types.TuningDataset(gcs_uri=rows)
            made = await client.tunings.tune(
                base_model=MODEL, training_dataset=dataset, config=config_of(labels={"of": "async"})
            )
            found = [
                job.name async for job in await client.tunings.list(config={"filter": "labels.of=async"})
            ]
            assert found == [made.name]
            while not (job := await client.tunings.get(name=made.name)).has_ended:
                await asyncio.sleep(0.005)
            answer = await client.models.generate_content(model=job.tuned_model.endpoint, contents="which?")
            assert answer.text and answer.candidates[0].finish_reason == "STOP"
            return job

    assert asyncio.run(live()).has_succeeded


def test_preferences_are_tuned_with_one_checkpoint_where_only_the_last_is_wanted(
    vertex_emulator: Running,
) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator, pairs())
    made = tune(
        client, rows, method="PREFERENCE_TUNING", beta=0.1, epoch_count=3, export_last_checkpoint_only=True
    )
    job = ended(client, made)
    assert job.has_succeeded
    assert job.preference_optimization_spec.hyper_parameters.beta == 0.1
    assert job.supervised_tuning_spec is None
    assert job.tuning_data_stats.preference_optimization_data_stats.tuning_dataset_example_count == 16
    assert job.tuned_model.endpoint and not job.tuned_model.checkpoints


def test_an_open_model_becomes_files_in_a_bucket_and_no_endpoint(vertex_emulator: Running) -> None:
    client = client_of(vertex_emulator, location="global")
    rows = [{"prompt": f"q {n}", "completion": "a"} for n in range(8)]
    rows += [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    out = f"gs://{BUCKET}/out/open"
    job = ended(client, tune(client, upload(vertex_emulator, rows), OPEN_MODEL, output_uri=out, batch_size=4))
    assert job.has_succeeded
    assert "/locations/global/" in job.name
    assert "/locations/us-central1/models/" in job.tuned_model.model
    assert job.tuned_model.endpoint is None
    found = {blob.name for blob in gcs(vertex_emulator).list_blobs(BUCKET, prefix="out/open/")}
    folder = "out/open/postprocess/node-0/checkpoints/final"
    assert found == {f"{folder}/adapter_config.json", f"{folder}/adapter_model.safetensors"}


def test_a_job_goes_on_from_a_tuned_model(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator), upload(vertex_emulator)
    first = ended(client, tune(client, rows))
    assert first.tuned_model and first.tuned_model.model
    second = ended(client, tune(client, rows, first.tuned_model.model))
    assert second.has_succeeded
    assert second.pre_tuned_model.base_model == MODEL
    assert second.tuned_model.model != first.tuned_model.model


def test_cancelling_takes_a_moment_and_is_final(vertex_emulator: Running) -> None:
    client = client_of(vertex_emulator)
    vertex_emulator.set_options(phase_s={"validating": 60.0, "cancelling": 60.0})
    made = tune(client, upload(vertex_emulator))
    client.tunings.cancel(name=made.name or "")
    job = client.tunings.get(name=made.name or "")
    assert (job.state, job.error, job.end_time) == ("JOB_STATE_CANCELLING", None, None)
    vertex_emulator.set_options(phase_s={"cancelling": 0.0})
    job = client.tunings.get(name=made.name or "")
    assert (job.state, job.error.code, job.tuned_model) == ("JOB_STATE_CANCELLED", 1, None)
    with pytest.raises(errors.ClientError, match="FAILED_PRECONDITION"):
        client.tunings.cancel(name=made.name or "")
    [seen] = [one for one in vertex_emulator.jobs() if one["id"] == made.name]
    assert (seen["survives"], seen["billed"]) == (False, None)


@pytest.mark.parametrize("state", STATES)
def test_every_state_reaches_the_client_by_its_name(vertex_emulator: Running, state: str) -> None:
    client = client_of(vertex_emulator)
    made = tune(client, upload(vertex_emulator))
    vertex_emulator.set_faults([{"on": GET, "do": "unknown_status", "status": state}])
    seen = client.tunings.get(name=made.name or "")
    assert seen.state is types.JobState(state)
    assert ended(client, made).state == "JOB_STATE_SUCCEEDED"


def test_lists_are_filtered_paged_and_kept_to_their_place(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator, project="lists"), upload(vertex_emulator)
    made = [tune(client, rows, labels={"row": str(n % 2), "all": "yes"}).name for n in range(5)][::-1]

    def listed(**given: Any) -> list[str]:
        return names(client.tunings.list(config=given))

    assert listed() == made
    assert listed(page_size=2) == made
    assert listed(filter='labels.row="1" AND labels.all=yes') == made[1::2]
    assert listed(filter="labels.row:*", page_size=3) == made
    assert listed(filter='NOT labels.row="1" OR base_model="other"', page_size=2) == made[::2]
    until(lambda: listed(filter='state="JOB_STATE_SUCCEEDED"') == made)
    assert listed(filter='state!="JOB_STATE_SUCCEEDED"') == []
    assert listed(filter='create_time>"2020-01-01T00:00:00Z" AND (labels.row=0)') == made[::2]
    for place in ({"project": "lists", "location": "europe-west4"}, {"project": "others"}):
        other = client_of(vertex_emulator, **place)
        assert names(other.tunings.list()) == []
    for bad in ("labels.row=", "epochs=3", "labels.row=1 AND (state=x"):
        with pytest.raises(errors.ClientError, match="Invalid filter"):
            listed(filter=bad)
    with pytest.raises(errors.ClientError, match="page_token"):
        listed(page_token="no token")


def test_a_new_job_lags_in_lists_but_not_by_its_name(vertex_emulator: Running) -> None:
    client, rows = client_of(vertex_emulator, project="lag"), upload(vertex_emulator)
    vertex_emulator.set_options(list_lag_s=60.0)
    made = tune(client, rows, labels={"lag": "yes"})
    assert names(client.tunings.list()) == []
    assert client.tunings.get(name=made.name or "").name == made.name
    vertex_emulator.set_options(list_lag_s=0.3)
    again = tune(client, rows, labels={"lag": "yes"})
    until(lambda: names(client.tunings.list(config={"filter": "labels.lag=yes"})) == [again.name])


def test_a_job_that_is_not_there_is_not_found(vertex_emulator: Running) -> None:
    client = client_of(vertex_emulator)
    made = tune(client, upload(vertex_emulator))
    assert made.name is not None
    elsewhere = made.name.replace("us-central1", "europe-west4")
    for name in (f"{made.name}0", elsewhere):
        with pytest.raises(errors.ClientError, match="404 NOT_FOUND"):
            client.tunings.get(name=name)
