"""Several processes train one job to the same losses, and live and die together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from retune.training.job import JobFolder, Lease, TrainingJob
from retune.training.processes import LOST
from tests.tuning import HYPERPARAMETERS, make_base, make_rows, write_rows

WITHIN_S = 240
LONGER = {"epochs": 10, "patience": 10}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


def write(path: Path, base: Path, processes: int, **given: Any) -> JobFolder:
    """A job whose steps are of 8 rows, whoever does them."""
    path.mkdir()
    folder = JobFolder(path)
    for side, rows in (("train", make_rows(32)), ("validation", make_rows(10, 1000))):
        (path / f"{side}.jsonl").write_bytes(write_rows(rows))
    job = TrainingJob(
        train=str(path / "train.jsonl"),
        validation=str(path / "validation.jsonl"),
        base_model=str(base),
        base_name="tiny",
        hyperparameters=HYPERPARAMETERS | {"epochs": 2} | given,
        seed=7,
        processes=processes,
    )
    folder.write_job(job)
    return folder


def start(folder: JobFolder, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "retune.training", str(folder.path)]
    with folder.log_file.open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)


def train(folder: JobFolder) -> list[dict[str, Any]]:
    assert start(folder).wait(WITHIN_S) == 0, folder.log_file.read_text()
    return losses(folder)


def losses(folder: JobFolder) -> list[dict[str, Any]]:
    names = ("step", "loss", "eval_loss", "grad_norm")
    return [{name: entry[name] for name in names if name in entry} for entry in folder.read_progress()]


def near(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    return len(found) == len(expected) and all(
        one.keys() == other.keys() and all(one[name] == pytest.approx(other[name], rel=1e-4) for name in one)
        for one, other in zip(found, expected, strict=True)
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, base: Path) -> list[dict[str, Any]]:
    return train(write(tmp_path_factory.mktemp("alone") / "job", base, 1, batch_size=8))


def test_two_processes_learn_what_one_learns(tmp_path: Path, base: Path, alone: list[dict[str, Any]]) -> None:
    folder = write(tmp_path / "job", base, 2, batch_size=4)
    assert near(train(folder), alone)
    assert [entry["step"] for entry in alone if "eval_loss" in entry] == [4, 8]
    lines = folder.progress_file.read_text().splitlines()
    assert len(lines) == len(alone), "one process writes"
    assert sorted(path.name for path in folder.model.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "parity.json",
    ]


def test_gradients_gathered_over_batches_learn_the_same(
    tmp_path: Path, base: Path, alone: list[dict[str, Any]]
) -> None:
    folder = write(tmp_path / "job", base, 1, batch_size=2, gradient_accumulation=4)
    assert near(train(folder), alone)


def test_processes_that_others_started_train_together(
    tmp_path: Path, base: Path, alone: list[dict[str, Any]]
) -> None:
    """As on several hosts: each process is started with its place, by torchrun say."""
    folder = write(tmp_path / "job", base, 1, batch_size=4)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    started = [start(folder, RANK=rank, LOCAL_RANK=rank, **place) for rank in ("0", "1")]
    assert [process.wait(WITHIN_S) for process in started] == [0, 0], folder.log_file.read_text()
    assert near(losses(folder), alone)


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, base: Path) -> list[dict[str, Any]]:
    return train(write(tmp_path_factory.mktemp("undisturbed") / "job", base, 1, batch_size=8, **LONGER))


@pytest.mark.parametrize("killed", ["first", "second"])
def test_one_killed_ends_all_and_the_next_start_resumes(
    tmp_path: Path, base: Path, undisturbed: list[dict[str, Any]], killed: str
) -> None:
    folder = write(tmp_path / "job", base, 2, batch_size=4, **LONGER)
    first = start(folder)
    try:
        second = kill_in_the_middle(folder, first, killed)
        assert first.wait(WITHIN_S) == (-signal.SIGKILL if killed == "first" else LOST)
        deadline = time.monotonic() + WITHIN_S
        while second.is_running() and second.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        first.kill()
    assert folder.read_done() is None
    assert near(train(folder), undisturbed)
    assert "resuming from checkpoint-" in folder.log_file.read_text()


def kill_in_the_middle(folder: JobFolder, first: subprocess.Popen[bytes], killed: str) -> psutil.Process:
    deadline = time.monotonic() + WITHIN_S
    while not (entries := folder.read_progress()) or entries[-1]["step"] < 0.5 * entries[-1]["total_steps"]:
        assert first.poll() is None and time.monotonic() < deadline, folder.log_file.read_text()
        time.sleep(0.005)
    lease = Lease.read(folder)
    assert lease is not None and lease.pid == first.pid
    [second] = psutil.Process(first.pid).children()
    os.kill(first.pid if killed == "first" else second.pid, signal.SIGKILL)
    return second
