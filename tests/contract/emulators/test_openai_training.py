"""The OpenAI emulator in train mode: real trainings, real curves, and answers of what was trained."""

from __future__ import annotations

import base64
import csv
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from retune.artifacts import digest_of_tree
from retune.testing.emulators.process import Running, running
from retune.testing.vllm_stub import VllmStub
from retune.training.job import JobFolder, Lease
from retune.training.lease import is_alive
from tests.contract.emulators.conftest import OPENAI_CONTRACT
from tests.contract.emulators.openai_client import client_of, create, ended, lines, messages, until, upload
from tests.tuning import make_base, make_rows

WITHIN_S = 180.0
TRAIN_WITH = {"max_length": 128, "lora": {"r": 4, "alpha": 8, "dropout": 0.0}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def vllm() -> Iterator[VllmStub]:
    with VllmStub(answer=lambda model, prompt: f"{model} says {prompt}") as stub:
        yield stub


@pytest.fixture
def emulator(base: Path, vllm: VllmStub, tmp_path: Path) -> Iterator[Running]:
    contract = {"contract": str(OPENAI_CONTRACT)} if OPENAI_CONTRACT.exists() else {}
    options: dict[str, Any] = {
        "phase_s": 0.01,
        "train_base": str(base),
        "train_with": TRAIN_WITH,
        "vllm": vllm.url,
        **contract,
    }
    with running("openai", tmp_path / "openai", **options) as found:
        yield found
        assert found.problems() == []


def chats(count: int, offset: int = 0) -> bytes:
    return lines([{"messages": row["messages"]} for row in make_rows(count, offset)])


def folder_of(emulator: Running, job: str) -> JobFolder:
    return JobFolder(emulator.folder / "trainings" / job)


def trained(client: OpenAI, job: str) -> FineTuningJob:
    """Wait until a job has ended and return it."""
    return ended(client, job, WITHIN_S)


def trainer_of(emulator: Running, job: str) -> Lease:
    """Wait until a job's trainer has told of a step, and return who it is."""
    folder = folder_of(emulator, job)
    until(folder.read_progress, WITHIN_S)
    lease = Lease.read(folder)
    assert lease
    return lease


def long_job(emulator: Running) -> Any:
    """A job that trains until something ends it."""
    client = client_of(emulator)
    return create(client, training_file=upload(client, chats(200)), hyperparameters={"n_epochs": 50})


def test_a_job_really_trains_and_its_model_answers(emulator: Running, vllm: VllmStub) -> None:
    client = client_of(emulator)
    made = create(
        client,
        training_file=upload(client, chats(16)),
        validation_file=upload(client, chats(4, 1000)),
        hyperparameters={"n_epochs": 3, "batch_size": 4},
    )
    job = trained(client, made.id)
    assert (job.error, job.status) == (None, "succeeded")
    table = base64.b64decode(client.files.content(job.result_files[0]).read()).decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    told = folder_of(emulator, job.id).read_progress()
    assert [int(row["step"]) for row in rows] == sorted({entry["step"] for entry in told})
    assert [float(row["valid_loss"]) for row in rows if row["valid_loss"]] == [
        entry["eval_loss"] for entry in told if "eval_loss" in entry
    ]
    points = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [point.step_number for point in points] == [12, 8, 4]
    assert len([line for line in messages(client, job.id) if line.startswith("Step ")]) == len(rows)
    digest = digest_of_tree(folder_of(emulator, job.id).model)
    asked: Any = {"model": job.fine_tuned_model, "messages": [{"role": "user", "content": "hi"}]}
    vllm.max_rank = 2
    with pytest.raises(openai.InternalServerError, match="LoRA rank 4 is greater"):
        client.chat.completions.create(**asked)
    vllm.max_rank = 16
    for restarted in (False, False, True):
        if restarted:
            vllm.adapters.clear()
        answer = client.chat.completions.create(**asked)
        assert (answer.model, answer.choices[0].message.content) == (
            job.fine_tuned_model,
            f"{digest} says hi",
        )
    assert [path for path, name in vllm.calls if name == digest].count("/v1/load_lora_adapter") == 3
    plain = client.chat.completions.create(model=job.model, messages=[{"role": "user", "content": "hi"}])
    assert plain.choices[0].message.content == "base says hi"


def test_preferences_are_trained_on_too(emulator: Running) -> None:
    client = client_of(emulator)
    pairs = [
        {
            "input": {"messages": row["messages"][:-1]},
            "preferred_output": row["messages"][-1:],
            "non_preferred_output": [{"role": "assistant", "content": "nothing of that"}],
        }
        for row in make_rows(12)
    ]
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "beta": 0.1}}}
    made = create(client, training_file=upload(client, lines(pairs)), method=method)
    job = trained(client, made.id)
    assert (job.error, job.status) == (None, "succeeded")


def test_cancelling_kills_the_trainer_and_lets_the_next_job_train(emulator: Running) -> None:
    client = client_of(emulator)
    first, second = long_job(emulator), long_job(emulator)
    trainer_of(emulator, first.id)
    assert client.fine_tuning.jobs.retrieve(second.id).status == "queued"
    assert client.fine_tuning.jobs.cancel(first.id).status == "cancelled"
    folder = folder_of(emulator, first.id)
    until(lambda: not is_alive(folder, 0.0))
    trainer_of(emulator, second.id)
    assert client.fine_tuning.jobs.retrieve(second.id).status == "running"
    assert [job["billed"] is not None for job in emulator.jobs()] == [True, True]


def test_a_restarted_emulator_adopts_the_trainer_that_goes_on(emulator: Running) -> None:
    made = long_job(emulator)
    before = trainer_of(emulator, made.id)
    emulator.kill()
    steps = len(folder_of(emulator, made.id).read_progress())
    until(lambda: len(folder_of(emulator, made.id).read_progress()) > steps, WITHIN_S)
    emulator.start()
    client = client_of(emulator)
    assert client.fine_tuning.jobs.retrieve(made.id).status == "running"
    after = trainer_of(emulator, made.id)
    assert after.pid == before.pid
    client.fine_tuning.jobs.cancel(made.id)
    until(lambda: not is_alive(folder_of(emulator, made.id), 0.0))


def test_a_killed_trainer_is_started_again_and_a_pause_ends_it_for_a_while(emulator: Running) -> None:
    client = client_of(emulator)
    made = long_job(emulator)
    folder = folder_of(emulator, made.id)
    first = trainer_of(emulator, made.id)
    os.killpg(first.pid, signal.SIGKILL)
    second = until(lambda: (found := Lease.read(folder)) and found.pid != first.pid and found, WITHIN_S)
    client.fine_tuning.jobs.pause(made.id)
    until(lambda: not is_alive(folder, 0.0))
    assert client.fine_tuning.jobs.retrieve(made.id).status == "running"
    client.fine_tuning.jobs.resume(made.id)
    until(lambda: (found := Lease.read(folder)) and found.pid != second.pid and found, WITHIN_S)
    client.fine_tuning.jobs.cancel(made.id)
    until(lambda: not is_alive(folder, 0.0))


def test_what_the_trainer_refuses_is_the_jobs_error(emulator: Running) -> None:
    client = client_of(emulator)
    weighted = [
        {"messages": [row["messages"][0], {**row["messages"][1], "weight": 0}]} for row in make_rows(12)
    ]
    job = trained(client, create(client, training_file=upload(client, lines(weighted))).id)
    assert job.status == "failed" and job.error and "weight" in job.error.message
    asks = lines([{"messages": row["messages"][:1]} for row in make_rows(10)])
    grader = {"type": "python", "name": "g", "source": "def grade(s, i): return 1.0"}
    method: Any = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    reinforced = trained(client, create(client, training_file=upload(client, asks), method=method).id)
    assert reinforced.error and "reinforcement" in reinforced.error.message


def test_a_vllm_that_is_gone_is_said_to_be_gone(emulator: Running) -> None:
    client = client_of(emulator)
    emulator.set_options(vllm="http://127.0.0.1:9")
    emulator.kill()
    emulator.start()
    with pytest.raises(openai.InternalServerError, match="vLLM server does not answer"):
        client.chat.completions.create(
            model="gpt-4o-mini-2024-07-18", messages=[{"role": "user", "content": "hi"}]
        )
