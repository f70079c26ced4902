"""Groups of processes, and how they end; free ports.

Each process we start leads a group: vLLM's children survive a kill of their parent, so the group is ended.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil

from retune.artifacts import write_atomically
from retune.errors import EndpointError

GRACE_S = 10.0


class Book:
    """Records which process groups are ours, so that the next start can end what a crash left.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._groups: dict[str, dict[str, float]] = {}

    def record(self, name: str, pid: int) -> None:
        """Record a group's leader with its start time: a number alone may come again."""
        try:
            started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            started = time.time()
        with self._lock:
            self._groups[name] = {"pid": pid, "started": started, "boot": psutil.boot_time()}
            write_atomically(self._path, json.dumps(self._groups).encode())

    def running(self) -> dict[str, int]:
        """Return name -> number of the recorded groups that still run."""
        try:
            groups = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        return {name: int(group["pid"]) for name, group in groups.items() if _is_ours(group)}

    def end_leftovers(self) -> list[str]:
        """End the recorded groups that still run; return their names."""
        groups = self.running()
        for group in groups.values():
            end_group(group)
        self._path.unlink(missing_ok=True)
        return list(groups)


def _is_ours(group: Mapping[str, float]) -> bool:
    """Say whether the number still means the recorded group, whose leader may be gone."""
    pid = int(group["pid"])
    if abs(group["boot"] - psutil.boot_time()) > 60:
        return False
    try:
        return abs(psutil.Process(pid).create_time() - group["started"]) < 1
    except psutil.NoSuchProcess:
        # The system gives a number to nobody else while a group has it.
        return bool(members(pid))


def members(group: int) -> list[int]:
    """Return the living processes of a group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def end_group(group: int, leader: subprocess.Popen[bytes] | None = None, grace_s: float = GRACE_S) -> None:
    """End every process of a group: asked first, then killed.

    Args:
        group: The group's number, its leader's pid.
        leader: Our child that leads it, to be reaped.
        grace_s: How long they may take to end by themselves.
    """
    for name, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        if members(group):
            os.killpg(group, name)
        deadline = time.monotonic() + wait_s
        while members(group) and time.monotonic() < deadline:
            if leader:
                leader.poll()
            time.sleep(0.05)
    if leader:
        leader.poll()


def free_ports(host: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return a port for each purpose: the wanted one, or a free one where 0 is wanted.

    Raises:
        EndpointError: A wanted port is occupied.
    """
    ports: dict[str, int] = {}
    with ExitStack() as held:
        for purpose, port in wanted.items():
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise EndpointError(
                    f"port {port} of {host} for the {purpose} cannot be taken: {error.strerror}",
                    "choose another, or end the process that holds it",
                ) from error
            ports[purpose] = probe.getsockname()[1]
    return ports
