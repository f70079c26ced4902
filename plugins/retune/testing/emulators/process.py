"""An emulator as a child process of a test or a benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from retune.backends.local_jobs import stop_trainers
from retune.errors import EndpointError
from retune.serving.processes import end_group, free_ports
from retune.testing.emulators import faults, options
from retune.testing.emulators.store import Store

_HOST = "127.0.0.1"
_READY_WITHIN_S = 60.0
_TRIES = 5


class Running:
    """An emulator in a process of its own; made by `running`.

    Args:
        kind: `openai` or `vertex`.
        folder: What it remembers lies here, over restarts.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.port = free_ports(_HOST, {"emulator": 0})["emulator"]
        self.log_file = folder / "emulator.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._known = False
        """Whether it was up once, so that others may know its address."""
        self._store: Store | None = None

    @property
    def url(self) -> str:
        """Base URL, without `/v1`; the same after a restart."""
        return f"http://{_HOST}:{self.port}"

    @property
    def store(self) -> Store:
        """The emulator's folder, opened by this process too; also while the emulator is down."""
        if self._store is None:
            self._store = Store(self.folder)
        return self._store

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            EndpointError: It ended, or did not answer in time.
        """
        for _ in range(_TRIES):
            if self._try_to_start():
                return self
            # Somebody took the free port since it was looked for.
            self.port = free_ports(_HOST, {"emulator": 0})["emulator"]
        raise EndpointError(f"the {self.kind} emulator found no free port in {_TRIES} tries", "see its log")

    def _try_to_start(self) -> bool:
        """Start it; False where its port is taken and nobody knows it by that yet."""
        command = [sys.executable, "-m", "retune.testing.emulators", self.kind]
        command += ["--folder", str(self.folder), "--port", str(self.port), "--host", _HOST]
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._is_ready():
            if self._child.poll() is not None or time.monotonic() > deadline:
                words = self.log_file.read_text(errors="replace")[-2000:]
                if "address already in use" in words and not self._known:
                    return False
                raise EndpointError(f"the {self.kind} emulator did not start: {words}", "see its log")
            time.sleep(0.02)
        self._known = True
        return True

    def kill(self) -> None:
        """Kill it with `kill -9`, and all that is in its process group."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def stop(self) -> None:
        """End it with its group, asked first, then killed; and the trainers that a kill left."""
        if self._child is not None:
            end_group(self._child.pid, self._child, grace_s=3.0)
            self._child.wait()
            self._child = None
        stop_trainers(self.folder / "trainings")
        if self._store is not None:
            self._store.close()
            self._store = None

    def set_faults(self, rules: list[dict[str, Any]]) -> None:
        """Replace the rules; see `faults.py`."""
        faults.write(self.folder, rules)

    def set_options(self, **changes: Any) -> None:
        """Change options; see `options.py`. `contract`, `train_base` and `vllm` count from the next start."""
        options.write(self.folder, changes)

    def jobs(self, **labels: str) -> list[dict[str, Any]]:
        """Return every job ever created, oldest first; see `Emulator.jobs`.

        Args:
            **labels: Only jobs with these labels (OpenAI: metadata).
        """
        every: list[dict[str, Any]] = self._get("/_emulator/jobs")
        return [job for job in every if labels.items() <= job["labels"].items()]

    def counts(self) -> dict[str, int]:
        """Return how often each route was asked since the start, as `METHOD template`."""
        found: dict[str, int] = self._get("/_emulator/counts")
        return found

    def problems(self) -> list[str]:
        """Return the emulator's own faults, such as answers against the contract; a test expects none."""
        found: list[str] = self._get("/_emulator/problems")
        return found

    def _get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=60, trust_env=False).raise_for_status().json()

    def _is_ready(self) -> bool:
        """Say whether our own child answers: where it lost its port, somebody else may."""
        with suppress(httpx.HTTPError, ValueError):
            answer = httpx.get(f"{self.url}/_emulator/ready", timeout=5, trust_env=False)
            return self._child is not None and answer.json().get("pid") == self._child.pid
        return False


@contextmanager
def running(
    kind: str, folder: Path, *, fault_rules: list[dict[str, Any]] | None = None, **given: Any
) -> Iterator[Running]:
    """Run an emulator for the block.

    Args:
        kind: `openai` or `vertex`.
        folder: What it remembers lies here; made where it is missing.
        fault_rules: Its first fault rules.
        **given: Options, see `options.Options` and `options.write`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options.write(folder, given)
    if fault_rules is not None:
        faults.write(folder, fault_rules)
    emulator = Running(kind, folder)
    try:
        yield emulator.start()
    finally:
        emulator.stop()
