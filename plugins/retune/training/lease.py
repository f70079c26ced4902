"""The exclusive lease on a job directory: one trainer at a time, whatever restarts it."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from retune.errors import BackendError
from retune.training.job import JobFolder, Lease

HELD = 3
"""The trainer's exit code where another process holds the lease."""
HEARTBEAT_S = 2.0
STALE_S = 15.0
"""A holder on another host that has been silent for longer counts as dead."""
_TRIES, _BETWEEN_S = 10, 0.02


class LeaseHeldError(BackendError):
    """Another process holds the lease."""


def is_alive(folder: JobFolder, now: float) -> bool:
    """Say whether somebody holds the directory's lease.

    On this host the file lock says so, which the kernel frees when its holder dies: a heartbeat may
    stand still on a slow or full disk while the training goes on. It counts for other hosts only.

    Args:
        folder: The job directory.
        now: Seconds since 1970.

    Raises:
        BackendError: The directory cannot be read.
    """
    if _is_locked(folder):
        return True
    return _beats_elsewhere(Lease.read(folder), now)


@contextmanager
def hold(folder: JobFolder) -> Iterator[None]:
    """Hold the directory's lease, with a heartbeat, until the block ends.

    A file lock settles it on one host, also between two that start at the same moment; the
    heartbeat settles it between hosts that share the directory.

    Raises:
        LeaseHeldError: Another process holds it.
    """
    with folder.lock_file.open("a") as lock:
        if not _lock(lock):
            raise _held(folder, Lease.read(folder))
        current = Lease.read(folder)
        if _beats_elsewhere(current, time.time()):
            raise _held(folder, current)
        Lease(socket.gethostname(), os.getpid(), time.time()).write(folder)
        stop = threading.Event()
        beat = threading.Thread(target=_beat, args=(folder, stop), daemon=True)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join()


def _beats_elsewhere(lease: Lease | None, now: float) -> bool:
    return lease is not None and lease.host != socket.gethostname() and now - lease.heartbeat <= STALE_S


def _lock(file: IO[str]) -> bool:
    """Take the lock for good; who only looks at it has it for a moment, hence more than one try."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_S)
        else:
            return True
    return False


def _is_locked(folder: JobFolder) -> bool:
    try:
        with folder.lock_file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BackendError(f"{folder.lock_file} cannot be read: {error}", "mend the disk") from error
    return False


def _held(folder: JobFolder, lease: Lease | None) -> LeaseHeldError:
    holder = f"process {lease.pid} on {lease.host}" if lease else "another process"
    return LeaseHeldError(f"{holder} is training in {folder.path}", "wait for it, or cancel the job")


def _beat(folder: JobFolder, stop: threading.Event) -> None:
    mine = (socket.gethostname(), os.getpid())
    while not stop.wait(HEARTBEAT_S):
        try:
            lease = Lease.read(folder)
            if lease and (lease.host, lease.pid) != mine:
                # Two trainers in one directory would spoil each other's checkpoints.
                _say(f"process {lease.pid} on {lease.host} took the lease: leaving")
                os._exit(4)
            Lease(*mine, time.time()).write(folder)
        except (OSError, BackendError) as error:
            _say(f"the heartbeat could not be written: {error}")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
