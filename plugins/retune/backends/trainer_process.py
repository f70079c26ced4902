"""The trainer as a process: what it is given, and how it is ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil

import retune
from retune.errors import BackendError
from retune.training.job import JobFolder, Lease
from retune.training.lease import is_alive

# Freed memory stays with the process: giving it back at every step cost a fifth of the time.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
# The one option of Retune's that the trainer reads; others hold passwords and keys.
_NEEDED = {"RETUNE_TRAINER_THREADS"}


def environment(folder: JobFolder) -> dict[str, str]:
    """Return the trainer's environment: this package alone on its path, and no secrets."""
    code = folder.path / "code"
    code.mkdir(exist_ok=True)
    link = code / "retune"
    link.unlink(missing_ok=True)
    # The folder that holds the package may be a whole site-packages, for another interpreter.
    link.symlink_to(Path(retune.__file__).parent)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _NEEDED or not name.startswith(("AIRFLOW_", "RETUNE_"))
    }
    return kept | _KEEP_MEMORY | {"PYTHONPATH": str(code), "PYTHONUNBUFFERED": "1"}


def kill(folder: JobFolder) -> bool:
    """Kill the directory's trainer with its process group; say whether there was one to kill."""
    lease = Lease.read(folder)
    if lease is None or not is_alive(folder, time.time()):
        return False
    if lease.host != socket.gethostname():
        raise BackendError(f"the trainer runs on {lease.host} (pid {lease.pid})", "cancel it on that host")
    try:
        # A pid is soon somebody else's.
        command = psutil.Process(lease.pid).cmdline()
        if "retune.training" not in command or str(folder.path) not in command:
            return False
        if os.getpgid(lease.pid) == lease.pid:
            os.killpg(lease.pid, signal.SIGKILL)
        else:
            os.kill(lease.pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return True
