"""Keeps a process doing its work: starts it, probes it, and starts it again where it dies or hangs."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from retune.errors import EndpointError
from retune.serving.processes import GRACE_S, Book, end_group

_TICK_S = 0.1
_STEADY_S = 60.0
_LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True)
class Part:
    """What is to be kept running."""

    name: str
    command: Callable[[], list[str]]
    """Prepares a start and returns the command line."""
    probe: Callable[[float], None]
    """Given the process's age in seconds; raises EndpointError unless it does its work."""
    environment: Mapping[str, str] = field(default_factory=dict)
    probe_every_s: float = 2.0
    patience: int = 3
    """Probes in a row that may fail before it is started again."""
    start_timeout_s: float = 60.0


class Keeper:
    """Keeps one part running until `stop` is set: starts it, probes it, starts it again.

    Args:
        part: What to run.
        log: File that takes its output.
        book: Where its process is recorded, for the time after a crash of our own.
        stop: Set to end it.
        report: Takes one line when something happens.
        on_ready: Called each time that it does its work after a start.
    """

    def __init__(
        self,
        part: Part,
        log: Path,
        book: Book,
        stop: threading.Event,
        report: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        self.part = part
        self.pid: int | None = None
        """The process that does the work; None while it does not."""
        self.error: EndpointError | None = None
        """Why the part was given up: it never did its work once."""
        self._log = log
        self._book = book
        self._stop = stop
        self._report = report
        self._on_ready = on_ready
        self._was_ready = False
        self._unsaid = ""

    def run(self) -> None:
        """Keep the part; returns when it is ended or given up."""
        losses = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                why = self._run_once()
            except Exception as error:  # such as a full disk
                if not self._was_ready:
                    self.error = error if isinstance(error, EndpointError) else EndpointError(repr(error))
                    self._stop.set()
                    return
                why = f"could not be kept running ({error})"  # what else serves goes on
            if self._stop.is_set():
                return
            losses = 0 if time.monotonic() - began > _STEADY_S else losses + 1
            wait_s = min(2.0 ** (losses - 1), _LONGEST_BACKOFF_S) if losses > 1 else 0.0
            self._say(f"{self.part.name} {why}; starting it again")
            self._stop.wait(wait_s)

    def _run_once(self) -> str:
        """Start the part, watch it until it must be started again, end what is left, and say why."""
        process = self._start()
        try:
            self._book.record(self.part.name, process.pid)
            why = self._watch(process)
        finally:
            self.pid = None
            # Asked politely only where all ends: what died or hangs would not listen.
            end_group(process.pid, process, GRACE_S if self._stop.is_set() else 0.0)
        if not self._was_ready and not self._stop.is_set():
            raise EndpointError(
                f"{self.part.name} {why} before it was up; its last words: {_tail(self._log)}",
                f"see {self._log}",
            )
        return why

    def _start(self) -> subprocess.Popen[bytes]:
        command = self.part.command()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as out:
            try:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.part.environment},
                    start_new_session=True,
                )
            except OSError as error:
                raise EndpointError(f"{command[0]} cannot be started: {error}", "run `make setup`") from error

    def _watch(self, process: subprocess.Popen[bytes]) -> str:
        """Wait until the process must be started again, and say why; or until `stop`."""
        began, probe_at, failures, announced = time.monotonic(), 0.0, 0, False
        while not self._stop.wait(_TICK_S):
            status = process.poll()
            if status is not None:
                return f"ended with status {status}"
            if time.monotonic() < probe_at:
                continue
            age = time.monotonic() - began
            try:
                self.part.probe(age)
                failures = 0
            except Exception as error:  # an answer that is no JSON is no work either
                failures += 1
                if self.pid is None and age > self.part.start_timeout_s:
                    return f"was not up after {age:.0f} s ({error})"
                if self.pid is not None and failures >= self.part.patience:
                    return f"no longer does its work ({error})"
            else:
                self.pid, self._was_ready = process.pid, True
                announced = announced or self._announce()
            probe_at = time.monotonic() + (self.part.probe_every_s if self.pid and not failures else 0.5)
        return "was stopped"

    def _announce(self) -> bool:
        """Say that the part does its work; what stands against saying so is no reason to end it."""
        try:
            self._on_ready()
        except OSError as error:
            if self._unsaid != str(error):
                self._say(f"{self.part.name} is up, but this cannot be written down yet: {error}")
            self._unsaid = str(error)
            return False
        self._unsaid = ""
        return True

    def _say(self, line: str) -> None:
        with suppress(OSError):  # where it goes may be on the full disk too
            self._report(line)


def _tail(path: Path, size: int = 600) -> str:
    """Return the last words of a log."""
    try:
        return path.read_bytes()[-size:].decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return "(none)"
