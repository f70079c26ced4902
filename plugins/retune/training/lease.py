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

from retune.errors import BackendError
from retune.training.job import JobFolder, Lease

HEARTBEAT_S = 2.0
STALE_S = 15.0
"""A holder that has been silent for longer counts as dead."""


class LeaseHeldError(BackendError):
    """Another process holds the lease."""


def is_alive(lease: Lease | None, now: float) -> bool:
    """Say whether a lease's holder lives: a fresh heartbeat, and on this host a live pid too.

    Args:
        lease: The lease as read, None where there is none.
        now: Seconds since 1970.
    """
    if lease is None or now - lease.heartbeat > STALE_S:
        return False
    if lease.host != socket.gethostname():
        return True
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def hold(folder: JobFolder) -> Iterator[None]:
    """Hold the directory's lease, with a heartbeat, until the block ends.

    A file lock settles it on one host, also between two that start at the same moment; the
    heartbeat settles it between hosts that share the directory.

    Raises:
        LeaseHeldError: Another process holds it.
    """
    with folder.lock_file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(folder, Lease.read(folder)) from None
        current = Lease.read(folder)
        if current and current.host != socket.gethostname() and is_alive(current, time.time()):
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
