"""`python -m retune.training JOB_DIR`: run one job to its `done.json`."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import traceback
from pathlib import Path

from retune.errors import RetuneError
from retune.training import lease, processes, progress
from retune.training.job import Done, JobFolder, TrainingJob


def main(arguments: list[str]) -> int:
    """Run the job; 0 succeeded, 1 failed, 2 wrong arguments, 3 somebody else runs it, 6 a partner is gone."""
    if len(arguments) != 1:
        print("usage: python -m retune.training JOB_DIR", file=sys.stderr)
        return 2
    folder = JobFolder(Path(arguments[0]).resolve())
    try:
        job = folder.read_job()
    except RetuneError as error:
        print(error, file=sys.stderr)
        return 2
    if not processes.is_first():
        return _help(folder, job)
    try:
        with lease.hold(folder):
            return _run(folder, job)
    except lease.LeaseHeldError as error:
        print(error, file=sys.stderr)
        return lease.HELD


def _run(folder: JobFolder, job: TrainingJob) -> int:
    if (done := folder.read_done()) is not None:
        print(f"this job has {done.status}")
        return 0 if done.status == "succeeded" else 1
    stopwatch = progress.Stopwatch(folder)
    try:
        _prepare_environment(job)
        from retune.training import run

        metrics = run.train(folder, stopwatch)
        done = Done("succeeded", metrics=metrics, seconds=stopwatch.seconds, kind=run.kind_of(job))
    except Exception as error:
        traceback.print_exc()
        if processes.lost_partner(error):
            processes.settle()
            print("a process of this job was lost; it can be resumed")
            return processes.LOST
        done = Done("failed", error=explain(error), seconds=stopwatch.seconds)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # frees a full disk for done.json
    folder.finish(done)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    shutil.rmtree(folder.tokens, ignore_errors=True)
    print(done.error or done.status)
    return 0 if done.status == "succeeded" else 1


def _help(folder: JobFolder, job: TrainingJob) -> int:
    """Train beside the first process, which alone writes the job's files."""
    processes.end_with_first()
    try:
        _prepare_environment(job)
        from retune.training import run

        run.train(folder, progress.Stopwatch(folder))
    except Exception as error:
        traceback.print_exc()
        if processes.lost_partner(error):
            return processes.LOST
        processes.tell_first(folder, explain(error))
        return 1
    return 0


def _prepare_environment(job: TrainingJob) -> None:
    """Set what the torch stack reads when it is imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if job.processes == 1 and "WORLD_SIZE" not in os.environ:
        # The Trainer would spread one process over all GPUs that it sees, which is slow.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.partition(",")[0]


def explain(error: Exception) -> str:
    """Return one clear sentence (or the list of problems) for what stopped a training."""
    if isinstance(error, RetuneError):
        return str(error)
    text = str(error).strip() or type(error).__name__
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors and torch report a full disk as errors of their own.
    words = ("No space left", "PytorchStreamWriter failed", "inline_container.cc", "iostream error")
    if full or any(word in text for word in words):
        return "the disk is full -> free space under the jobs folder, then run again"
    from retune.training.memory import is_out_of_memory

    if is_out_of_memory(error):
        return "out of memory -> lower batch_size or max_length, or choose a smaller base model"
    return f"{type(error).__name__}: {text.splitlines()[0]} -> see trainer.log in the job directory"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
