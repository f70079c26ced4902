"""`python -m retune.training JOB_DIR`: run one job to its `done.json`."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import traceback
from pathlib import Path

from retune.errors import RetuneError
from retune.training import lease, progress
from retune.training.job import Done, JobFolder


def main(arguments: list[str]) -> int:
    """Run the job; 0 succeeded, 1 failed, 2 wrong arguments, 3 somebody else runs it."""
    if len(arguments) != 1:
        print("usage: python -m retune.training JOB_DIR", file=sys.stderr)
        return 2
    folder = JobFolder(Path(arguments[0]).resolve())
    try:
        folder.read_job()
    except RetuneError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        with lease.hold(folder):
            return _run(folder)
    except lease.LeaseHeldError as error:
        print(error, file=sys.stderr)
        return lease.HELD


def _run(folder: JobFolder) -> int:
    if (done := folder.read_done()) is not None:
        print(f"this job has {done.status}")
        return 0 if done.status == "succeeded" else 1
    stopwatch = progress.Stopwatch(folder)
    try:
        _prepare_environment()
        from retune.training import sft

        metrics = sft.train(folder, stopwatch)
        done = Done("succeeded", metrics=metrics, seconds=stopwatch.seconds)
    except Exception as error:
        traceback.print_exc()
        done = Done("failed", error=explain(error), seconds=stopwatch.seconds)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # frees a full disk for done.json
    folder.finish(done)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    print(done.error or done.status)
    return 0 if done.status == "succeeded" else 1


def _prepare_environment() -> None:
    """Set what the torch stack reads when it is imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # One process trains on one GPU; TRL refuses to start where it sees several.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.partition(",")[0]


def explain(error: Exception) -> str:
    """Return one clear sentence (or the list of problems) for what stopped a training."""
    if isinstance(error, RetuneError):
        return str(error)
    text = str(error).strip() or type(error).__name__
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors and torch report a full disk as errors of their own.
    words = ("No space left", "PytorchStreamWriter failed", "iostream error")
    if full or any(word in text for word in words):
        return "the disk is full -> free space under the jobs folder, then run again"
    words = ("out of memory", "can't allocate memory", "not enough memory")
    if isinstance(error, MemoryError) or any(word in text.lower() for word in words):
        return "out of memory -> lower batch_size or max_length, or choose a smaller base model"
    return f"{type(error).__name__}: {text.splitlines()[0]} -> see trainer.log in the job directory"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
