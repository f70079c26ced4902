"""Runs on the GPU box: starts, looks at and ends the trainer of a job directory.

`python -m retune.backends.ssh_box VERB JOB_DIR`; its last line is the answer, one JSON object. It is
shipped along with the trainer: it imports the standard library, retune.training and retune.errors only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retune.errors import BackendError, RetuneError
from retune.training.job import Done, JobFolder, Lease
from retune.training.lease import is_alive

_LEASE_WITHIN_S = 60


def look(folder: JobFolder) -> dict[str, Any]:
    """Say how the job goes; where it has ended, its rows leave the box.

    Returns:
        there: whether there is such a job; since: seconds since 1970; running; done: `done.json` or
        null; last_words: the trainer's.
    """
    if not folder.job_file.exists():
        return {"there": False}
    running = is_alive(folder, time.time())
    done = folder.read_done()  # after the look at the process: a trainer that just ended has written it
    if done is not None and not running:
        for name in ("data", "start", "tokens", "checkpoints"):
            shutil.rmtree(folder.path / name, ignore_errors=True)
    return {
        "there": True,
        "since": folder.job_file.stat().st_mtime,
        "running": running,
        "done": vars(done) if done else None,
        "last_words": _last_words(folder),
    }


def start(folder: JobFolder) -> dict[str, Any]:
    """Start the trainer in a session of its own, unless the job has one or has ended.

    Raises:
        BackendError: The trainer takes no lease.
    """
    if folder.read_done() is None and not is_alive(folder, time.time()):
        before = Lease.read(folder)
        with folder.log_file.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "retune.training", str(folder.path)],
                cwd=folder.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _LEASE_WITHIN_S
        # Until others can see that somebody trains here.
        while child.poll() is None and Lease.read(folder) == before:
            if time.monotonic() > deadline:
                raise BackendError(
                    f"the trainer took no lease in {_LEASE_WITHIN_S} s", f"see {folder.log_file}"
                )
            time.sleep(0.02)
    return look(folder)


def cancel(folder: JobFolder) -> dict[str, Any]:
    """Mark the job as cancelled, then kill its trainer and what that started.

    Raises:
        BackendError: The trainer runs on another host that shares the directory.
    """
    if folder.job_file.exists() and folder.read_done() is None:
        # First, so that nobody who looks in between takes it for a crash.
        folder.finish(Done("cancelled", error="cancelled"))
    _kill(folder)
    return look(folder)


def model(folder: JobFolder) -> dict[str, Any]:
    """Return path -> digest of the model's files."""
    files = {}
    for path in sorted(folder.model.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[path.relative_to(folder.model).as_posix()] = f"sha256:{digest}"
    return {"files": files}


def _kill(folder: JobFolder) -> None:
    lease = Lease.read(folder)
    if lease is None or not is_alive(folder, time.time()):
        return
    if lease.host != socket.gethostname():
        raise BackendError(f"the trainer runs on {lease.host} (pid {lease.pid})", "cancel it on that host")
    try:
        # A pid is soon somebody else's.
        command = Path(f"/proc/{lease.pid}/cmdline").read_bytes().split(b"\0")
        if b"retune.training" not in command or os.fsencode(folder.path) not in command:
            return
        if os.getpgid(lease.pid) == lease.pid:
            os.killpg(lease.pid, signal.SIGKILL)
        else:
            os.kill(lease.pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return


def _last_words(folder: JobFolder) -> str:
    try:
        lines = folder.log_file.read_text(errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


VERBS: dict[str, Callable[[JobFolder], dict[str, Any]]] = {
    "look": look,
    "start": start,
    "cancel": cancel,
    "model": model,
}


def main(arguments: list[str]) -> int:
    """Print the answer to one verb; 1 where it is an error."""
    verb, path = arguments
    try:
        answer = VERBS[verb](JobFolder(Path(path).resolve()))
    except (RetuneError, OSError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
