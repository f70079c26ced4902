"""Several processes that train one job together, on one host or on several.

On one host, `processes` in `job.json` is all it takes: the process that holds the lease is the first
of them, starts the others, and hands them a pipe. One that dies ends them all: the first watches its
children, and a child whose pipe closes has lost its first. No `done.json` is written then, so that
whoever starts the job next resumes it from the last whole checkpoint.

On several hosts start `python -m retune.training JOB_DIR` once a GPU yourself, in a directory that all
of them share, with the variables that `torchrun` and Kubernetes' training operators set: MASTER_ADDR,
MASTER_PORT, WORLD_SIZE, RANK and LOCAL_RANK (`torchrun --nnodes 2 --nproc-per-node 8 -m retune.training
JOB_DIR`, say). `processes` is not looked at then. RANK 0 alone holds the lease and writes progress,
checkpoints and `done.json`.

Source of the variables: https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from retune.training.job import Done, JobFolder, TrainingJob

LOST = 6
"""Exit code of a process whose partners are gone: a crash, not a verdict on the job."""
_PIPE = "RETUNE_TRAINER_PIPE"
_WORDS = ("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe")
_SETTLE_S = 1.0
_children: dict[int, subprocess.Popen[bytes]] = {}


def is_first() -> bool:
    """Say whether this process writes the job's files: it is alone, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def start_others(folder: JobFolder, job: TrainingJob) -> None:
    """Start the job's other processes on this host, unless the environment has set them up already."""
    if job.processes == 1 or "WORLD_SIZE" in os.environ:
        return
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(job.processes),
        "RANK": "0",
        "LOCAL_RANK": "0",
    }
    reading, _ = os.pipe()  # the other end stays open as long as this process lives
    command = [sys.executable, "-m", "retune.training", str(folder.path)]
    for rank in range(1, job.processes):
        (folder.path / _error_file(rank)).unlink(missing_ok=True)
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), _PIPE: str(reading)}
        _children[rank] = subprocess.Popen(command, env=os.environ | place, pass_fds=[reading])
    os.close(reading)
    threading.Thread(target=_watch, args=(folder, _children), daemon=True).start()


def end_with_first() -> None:
    """End this process as soon as the first one of its host is gone."""
    if (pipe := os.environ.get(_PIPE)) is None:
        return

    def watch() -> None:
        os.read(int(pipe), 1)  # returns when nobody holds the other end any more
        os._exit(LOST)

    threading.Thread(target=watch, daemon=True).start()


def wait_for_all() -> None:
    """Wait until all processes have come here."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def lost_partner(error: BaseException) -> bool:
    """Say whether a failure means that another process of the job is gone."""
    import torch

    if "WORLD_SIZE" not in os.environ:
        return False
    kinds: tuple[type[BaseException], ...] = (ConnectionError,)
    if torch.distributed.is_available():
        kinds += (torch.distributed.DistError,)
    return isinstance(error, kinds) or any(word in str(error).lower() for word in _WORDS)


def settle() -> None:
    """Give the thread that watches the others the time to say which one was lost, and how."""
    if _children:
        time.sleep(3 * _SETTLE_S)


def tell_first(folder: JobFolder, error: str) -> None:
    """Leave a failure of this process for the first one to report."""
    path = folder.path / _error_file(int(os.environ["RANK"]))
    partial = path.with_suffix(".partial")
    partial.write_text(error, encoding="utf-8")
    partial.replace(path)


def _watch(folder: JobFolder, children: dict[int, subprocess.Popen[bytes]]) -> None:
    """End this process where one of the others has ended badly."""
    while any(child.poll() is None for child in children.values()) and not _bad(children):
        time.sleep(0.05)
    if not _bad(children):
        return
    time.sleep(_SETTLE_S)  # who was killed first may be seen last
    for rank, child in children.items():
        path = folder.path / _error_file(rank)
        if child.poll() == 1 and path.exists():
            folder.finish(Done("failed", error=path.read_text(encoding="utf-8")))
            _leave(f"process {rank} failed", 1)
    codes = ", ".join(f"process {rank}: {child.poll()}" for rank, child in children.items())
    _leave(f"a process of this job was lost (exit codes {codes}); it can be resumed", LOST)


def _bad(children: dict[int, subprocess.Popen[bytes]]) -> bool:
    return any(child.poll() for child in children.values())


def _leave(sentence: str, code: int) -> None:
    print(sentence, flush=True)
    os._exit(code)


def _error_file(rank: int) -> Path:
    return Path(f"error-{rank}.txt")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
