"""What stopped a training is told in one sentence."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from retune.errors import BackendError
from retune.training.__main__ import explain
from retune.training.learning import evaluation_interval


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BackendError("the rows are empty", "add rows"), "the rows are empty -> add rows"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/1"), "the disk is full"),
        (RuntimeError("basic_ios::clear: iostream error"), "the disk is full"),
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "out of memory"),
        (KeyError("lora"), "KeyError: 'lora' -> see trainer.log"),
    ],
)
def test_a_failure_is_one_clear_sentence(error: Exception, said: str) -> None:
    assert explain(error).startswith(said)
    assert "\n" not in explain(error)


@pytest.mark.parametrize(
    ("steps", "epochs", "eval_batches", "every"),
    [
        (400, 8, 7, 50),  # once an epoch
        (3, 3, 1, 1),
        (6250, 1, 63, 480),  # a long epoch: about every 500 steps
        (6250, 1, 1000, 3125),  # but not where the validation set is large
    ],
)
def test_validation_comes_once_an_epoch_and_more_often_in_long_ones(
    steps: int, epochs: int, eval_batches: int, every: int
) -> None:
    assert evaluation_interval(steps, epochs, eval_batches) == every


def test_without_a_job_directory_the_trainer_says_how_it_is_called(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retune.training"]
    called = subprocess.run(command, capture_output=True, text=True)
    assert (called.returncode, called.stderr) == (2, "usage: python -m retune.training JOB_DIR\n")
    called = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert called.returncode == 2
    assert "job.json is missing" in called.stderr
