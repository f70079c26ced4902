"""Whatever is trained, and however: after a `kill -9` it ends with the same losses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from retune.training.__main__ import main
from retune.training.job import JobFolder, TrainingJob
from tests.tuning import HYPERPARAMETERS, LABELS, make_base, make_rows, write_rows

WITHIN_S = 240
CASES: dict[str, dict[str, Any]] = {
    "dpo, packed": {"method": "dpo", "packing": True, "batch_size": 2, "beta": 0.5},
    "full, gathered gradients": {"tuning": "full", "gradient_accumulation": 2, "learning_rate": 1e-3},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


def write(path: Path, base: Path, **changed: Any) -> JobFolder:
    path.mkdir()
    for side, rows in (("train", make_rows(48)), ("validation", make_rows(8, 1000))):
        for number, row in enumerate(rows):
            worse = LABELS[(number + 1) % len(LABELS)]
            row["rejected"] = [{"role": "assistant", "content": worse}]
        (path / f"{side}.jsonl").write_bytes(write_rows(rows))
    method = changed.pop("method", "sft")
    folder = JobFolder(path)
    folder.write_job(
        TrainingJob(
            train=str(path / "train.jsonl"),
            validation=str(path / "validation.jsonl"),
            base_model=str(base),
            base_name="tiny",
            hyperparameters=HYPERPARAMETERS | {"epochs": 12, "patience": 12} | changed,
            seed=7,
            method=method,
        )
    )
    return folder


def kill_at(folder: JobFolder, share: float) -> None:
    """Train in a process of its own, and kill it once it has done that share of its steps."""
    command = [sys.executable, "-m", "retune.training", str(folder.path)]
    with folder.log_file.open("wb") as log:
        trainer = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + WITHIN_S
    while not (entries := folder.read_progress()) or entries[-1]["step"] < share * entries[-1]["total_steps"]:
        assert trainer.poll() is None and time.monotonic() < deadline, folder.log_file.read_text()
        time.sleep(0.002)
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    assert folder.read_done() is None, "it ended before it could be killed"


def cut_last_checkpoint(folder: JobFolder) -> tuple[int, int]:
    """Cut the weights of the last checkpoint; return its step and that of the one before."""
    steps = sorted(int(path.name.rpartition("-")[2]) for path in folder.checkpoints.glob("checkpoint-*"))
    last = folder.checkpoints / f"checkpoint-{steps[-1]}"
    [weights] = last.glob("*model.safetensors")
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return steps[-1], steps[-2]


def losses(folder: JobFolder) -> list[tuple[int, float | None, float | None]]:
    return [(entry["step"], entry.get("loss"), entry.get("eval_loss")) for entry in folder.read_progress()]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_killed_training_ends_as_if_nothing_had_been(
    tmp_path: Path, base: Path, case: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = write(tmp_path / "undisturbed", base, **case)
    assert main([str(undisturbed.path)]) == 0
    folder = write(tmp_path / "killed", base, **case)
    kill_at(folder, 0.6)
    cut, before = cut_last_checkpoint(folder)
    capsys.readouterr()
    assert main([str(folder.path)]) == 0
    said = capsys.readouterr().out
    assert f"checkpoint-{cut} is incomplete: deleted" in said
    assert f"resuming from checkpoint-{before}" in said
    assert losses(folder) == losses(undisturbed)
    [weights] = folder.model.glob("*model.safetensors")
    assert weights.read_bytes() == (undisturbed.model / weights.name).read_bytes()
