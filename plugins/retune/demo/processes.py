"""Processes that are started together and ended together, also by a later command."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from retune.errors import SetupError
from retune.serving.processes import Book, members

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
        self._book = Book(self._file)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a process in a group of its own; it outlives this one. Only for the main thread."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _undisturbed(), self.log(name).open("wb") as log:
            child = subprocess.Popen(
                command,
                env={**env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._children[name] = child
            self._book.record(name, child.pid)

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
        """End all that is recorded, with every descendant, and return how many processes ended."""
        groups = self._book.running().values()
        # Descendants are listed first: a trainer has a session of its own, and once its parent
        # is gone nothing leads to it.
        family = {one.pid: one for group in groups for pid in members(group) for one in _family(pid)}
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)
        _, alive = psutil.wait_procs(list(family.values()), timeout=_GRACE_S)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_GRACE_S)
        self._file.unlink(missing_ok=True)
        self._children.clear()
        return len(family)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl-C and terminations back, so that nothing is started that is not recorded."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda which, _: came.append(which))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for which in came:
            signal.raise_signal(which)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
