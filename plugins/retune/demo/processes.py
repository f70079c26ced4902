"""Processes that are started together and ended together, also by a later command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from retune.artifacts import write_atomically
from retune.errors import SetupError

_GRACE_S = 20.0
_LOG_TAIL = 15


class Processes:
    """Long-running processes with a log each.

    Args:
        folder: Keeps the logs and `processes.json`, by which a later command finds them again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "processes.json"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a process in a group of its own; it outlives this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("wb") as log:
            child = subprocess.Popen(
                command,
                env={**env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[name] = child
        known = [entry for entry in self._recorded() if entry["name"] != name]
        created = psutil.Process(child.pid).create_time()
        known.append({"name": name, "pid": child.pid, "created": created})
        write_atomically(self._file, json.dumps(known).encode())

    def log(self, name: str) -> Path:
        """Return where a process's output goes."""
        return self.folder / f"{name}.log"

    def check(self) -> None:
        """Raise SetupError, with the end of its log, if a process that was started here ended."""
        for name, child in self._children.items():
            if child.poll() is not None:
                lines = self.log(name).read_text(errors="replace").splitlines()[-_LOG_TAIL:]
                raise SetupError(
                    f"{name} ended with {child.returncode}:\n  " + "\n  ".join(lines),
                    f"see {self.log(name)}",
                )

    def stop(self) -> int:
        """End all that is recorded, with every descendant, and return how many processes ended.

        A pid is only signalled while its start time is the recorded one.
        """
        roots = []
        for entry in self._recorded():
            try:
                process = psutil.Process(entry["pid"])
                if process.create_time() == entry["created"]:
                    roots.append(process)
            except psutil.NoSuchProcess:
                continue
        # Descendants are listed first: a trainer has a session of its own, and once its parent
        # is gone nothing leads to it.
        family = {process.pid: process for root in roots for process in _family(root)}
        for root in roots:
            _signal_group(root, signal.SIGTERM)
        _, alive = psutil.wait_procs(list(family.values()), timeout=_GRACE_S)
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, timeout=_GRACE_S)
        self._file.unlink(missing_ok=True)
        self._children.clear()
        return len(family)

    def _recorded(self) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads(self._file.read_text())
        except FileNotFoundError:
            return []
        return found


def _family(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal_group(process: psutil.Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
