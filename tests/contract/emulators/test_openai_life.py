"""OpenAI's fine-tuning from the models to the result file, driven by the real SDK in strict mode."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from retune.testing.emulators.contract import OpenApiContract
from retune.testing.emulators.process import Running
from tests.contract.emulators.conftest import Start
from tests.contract.emulators.openai_client import (
    MODEL,
    chats,
    client_of,
    create,
    ended,
    lines,
    messages,
    until,
    upload,
)

# Not emulated: what needs an admin's key, stored completions, embeddings.
LEFT_OUT = ("/permissions", "GET /v1/chat/completions", "/v1/embeddings")
GRADER: dict[str, Any] = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.label }}",
    "operation": "eq",
}


def test_a_job_lives_from_upload_to_answers(openai_emulator: Running) -> None:
    client = client_of(openai_emulator, organization="org-tests")
    file = upload(client)
    made = create(
        client, training_file=file, validation_file=file, suffix="tickets", seed=7, metadata={"key": "life"}
    )
    assert (made.status, made.fine_tuned_model, made.hyperparameters.n_epochs) == (
        "validating_files",
        None,
        "auto",
    )
    job = ended(client, made.id)
    assert (job.status, job.seed, job.metadata, job.hyperparameters.n_epochs) == (
        "succeeded",
        7,
        {"key": "life"},
        3,
    )
    assert job.fine_tuned_model and job.fine_tuned_model.startswith(f"ft:{MODEL}:org-tests:tickets:")
    assert job.trained_tokens and job.finished_at
    said = messages(client, job.id)
    assert said[:4] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {file} and validation file: {file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert said[-1] == "The job has successfully completed"
    assert len([line for line in said if line.startswith("Step ")]) == 36
    [result] = job.result_files
    table = base64.b64decode(client.files.content(result).read()).decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert list(rows[0]) == [
        "step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy",
    ]  # fmt: skip
    assert len(rows) == 36 and float(rows[-1]["valid_loss"]) < float(rows[0]["valid_loss"])
    answer = client.chat.completions.create(
        model=job.fine_tuned_model, messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.model == job.fine_tuned_model and answer.choices[0].message.content
    [counted] = openai_emulator.jobs(key="life")
    assert counted["survives"] and counted["billed"] == job.trained_tokens


def test_the_async_sdk_sees_the_same_life(openai_emulator: Running) -> None:
    async def live() -> list[Any]:
        async with AsyncOpenAI(
            base_url=f"{openai_emulator.url}/v1",
            api_key="sk-x",
            max_retries=0,
            _strict_response_validation=True,
        ) as client:
            file = await client.files.create(file=("a.jsonl", lines(chats())), purpose="fine-tune")
            made = await client.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
            while (job := await client.fine_tuning.jobs.retrieve(made.id)).status != "succeeded":
                await asyncio.sleep(0.005)
            events = [event async for event in client.fine_tuning.jobs.list_events(job.id)]
            points = [point async for point in client.fine_tuning.jobs.checkpoints.list(job.id)]
            return [len(events), [point.step_number for point in points]]

    assert asyncio.run(live()) == [36 + 6, [36, 24, 12]]


def test_lists_page_by_after_and_filter_by_metadata(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    file = upload(client)
    made = [create(client, training_file=file, metadata={"page": "yes", "n": str(n)}).id for n in range(5)]
    plain = create(client, training_file=file).id
    first = client.fine_tuning.jobs.list(limit=2, metadata={"page": "yes"})
    assert [job.id for job in first.data] == [made[4], made[3]] and first.has_more
    every = list(client.fine_tuning.jobs.list(limit=2, metadata={"page": "yes"}))
    assert [job.id for job in every] == made[::-1]
    only = client.fine_tuning.jobs.list(metadata={"page": "yes", "n": "2"})
    assert [job.id for job in only] == [made[2]]
    bare = httpx.get(
        f"{openai_emulator.url}/v1/fine_tuning/jobs?metadata=null",
        headers={"authorization": "Bearer sk-x"},
        trust_env=False,
    ).json()
    assert plain in [job["id"] for job in bare["data"]]
    assert not {job["id"] for job in bare["data"]} & set(made)


def test_events_and_checkpoints_page_without_gaps(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    job = ended(client, create(client).id)
    by_seven = [event.id for event in client.fine_tuning.jobs.list_events(job.id, limit=7)]
    assert len(by_seven) == len(set(by_seven)) == 42
    by_one = [point.step_number for point in client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)]
    assert by_one == [36, 24, 12]
    model = next(
        iter(client.fine_tuning.jobs.checkpoints.list(job.id, after=None))
    ).fine_tuned_model_checkpoint
    assert client.models.retrieve(model).id == job.fine_tuned_model


def test_a_checkpoint_answers_under_its_own_name(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    job = ended(client, create(client).id)
    names = [p.fine_tuned_model_checkpoint for p in client.fine_tuning.jobs.checkpoints.list(job.id)]
    assert names == [job.fine_tuned_model, *(f"{job.fine_tuned_model}:ckpt-step-{n}" for n in (24, 12))]
    chat = [{"role": "user", "content": "hi"}]
    for name in names:
        assert client.chat.completions.create(model=name, messages=chat).model == name


def test_a_paused_job_waits_until_it_is_resumed(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    openai_emulator.set_options(phase_s={"validating": 0.01, "queued": 0.01, "running": 60})
    made = create(client)
    until(lambda: client.fine_tuning.jobs.retrieve(made.id).status == "running")
    assert client.fine_tuning.jobs.pause(made.id).status == "running"
    with pytest.raises(openai.BadRequestError, match="cannot be paused"):
        client.fine_tuning.jobs.pause(made.id)
    openai_emulator.set_options(phase_s=0.01)
    assert client.fine_tuning.jobs.retrieve(made.id).status == "running"
    assert messages(client, made.id)[-1] == "Fine-tuning job paused"
    client.fine_tuning.jobs.resume(made.id)
    assert ended(client, made.id).status == "succeeded"
    assert "Fine-tuning job resumed" in messages(client, made.id)


@pytest.mark.parametrize(
    ("phases", "billed"), [({"queued": 60}, False), ({"running": 60}, True)], ids=["queued", "running"]
)
def test_a_cancelled_job_is_billed_only_where_it_ran(
    openai_emulator: Running, phases: dict[str, float], billed: bool
) -> None:
    client = client_of(openai_emulator)
    openai_emulator.set_options(phase_s={"validating": 0.01, "queued": 0.01, **phases})
    [phase] = phases
    made = create(client)
    until(lambda: client.fine_tuning.jobs.retrieve(made.id).status == phase)
    assert client.fine_tuning.jobs.cancel(made.id).status == "cancelled"
    [counted] = [job for job in openai_emulator.jobs() if job["id"] == made.id]
    assert (counted["survives"], counted["billed"] is not None) == (False, billed)
    with pytest.raises(openai.BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(made.id)


def test_a_large_file_goes_up_in_parts(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    data = lines(chats(500))
    done = client.uploads.upload_file_chunked(
        file=data,
        filename="sha256-abc.jsonl",
        bytes=len(data),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=10_000,
        md5=hashlib.md5(data).hexdigest(),
    )
    assert done.status == "completed" and done.file
    assert (done.file.bytes, done.file.filename) == (len(data), "sha256-abc.jsonl")
    assert client.files.content(done.file.id).read() == data
    with pytest.raises(openai.BadRequestError, match="is completed"):
        client.uploads.parts.create(done.id, data=b"more")


def test_an_upload_that_lacks_bytes_is_not_completed(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    begun = client.uploads.create(bytes=10, filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune")
    part = client.uploads.parts.create(begun.id, data=b"12345")
    with pytest.raises(openai.BadRequestError, match="5 bytes, but 10"):
        client.uploads.complete(begun.id, part_ids=[part.id])
    assert client.uploads.cancel(begun.id).status == "cancelled"


def test_files_are_listed_fetched_and_deleted(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    names = [upload(client, lines(chats(n + 10))) for n in range(3)]
    assert [file.id for file in client.files.list(purpose="fine-tune", limit=2)][:3] == names[::-1]
    oldest = [file.id for file in client.files.list(order="asc", purpose="fine-tune")]
    assert [name for name in oldest if name in names] == names
    assert client.files.retrieve(names[0]).bytes == len(lines(chats(10)))
    assert client.files.delete(names[0]).deleted
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {names[0]}"):
        client.files.retrieve(names[0])


def test_an_answer_comes_whole_or_streamed(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    again = client.chat.completions.create(**asked).choices[0].message.content
    chunks = client.chat.completions.create(**asked, stream=True)
    assert whole == again == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_graders_are_checked_and_run(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    graders = client.fine_tuning.alpha.graders
    assert graders.validate(grader=GRADER).grader
    right = graders.run(grader=GRADER, model_sample="cat", item={"label": "cat"})
    wrong = graders.run(grader=GRADER, model_sample="dog", item={"label": "cat"})
    assert (right.reward, wrong.reward) == (1.0, 0.0)
    with pytest.raises(openai.BadRequestError, match=r"grader\.operation"):
        graders.validate(grader={key: GRADER[key] for key in GRADER if key != "operation"})


def test_every_route_of_the_contract_is_answered(start: Start, openai_contract: Path) -> None:
    emulator = start(phase_s={"validating": 0.01, "queued": 0.01, "running": 60})
    client = client_of(emulator)
    file = upload(client)
    jobs, uploads, files = client.fine_tuning.jobs, client.uploads, client.files
    files.list()
    files.retrieve(file)
    files.content(file)
    new: Any = {"bytes": 3, "filename": "a.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    whole = uploads.create(**new).id
    uploads.complete(whole, part_ids=[uploads.parts.create(whole, data=b"{}\n").id])
    uploads.cancel(uploads.create(**new).id)
    job = create(client, training_file=file).id
    until(lambda: jobs.retrieve(job).status == "running")
    jobs.pause(job)
    jobs.resume(job)
    emulator.set_options(phase_s=0.01)
    model = ended(client, job).fine_tuned_model or ""
    jobs.list()
    jobs.list_events(job)
    jobs.checkpoints.list(job)
    emulator.set_options(phase_s=60)
    jobs.cancel(create(client, training_file=file).id)
    client.models.list()
    client.models.retrieve(model)
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
    client.models.delete(model)
    client.fine_tuning.alpha.graders.validate(grader=GRADER)
    client.fine_tuning.alpha.graders.run(grader=GRADER, model_sample="cat", item={"label": "cat"})
    files.delete(file)
    known = {f"{method} {path}" for method, path in OpenApiContract(openai_contract).routes}
    assert set(emulator.counts()) == {route for route in known if not any(left in route for left in LEFT_OUT)}
    assert emulator.problems() == []
