"""`serve` as a process of its own, and ways to hurt it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from retune.serving.processes import members
from retune.settings import Settings
from retune.state.database import Database
from tests.unit.serving.builders import ENDPOINT, until

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
SCRIPT = """
import sys
from retune.errors import RetuneError
from retune.serving.supervisor import serve
from retune.settings import Settings
try:
    serve(settings=Settings.load(), report=lambda line: print(line, flush=True), **eval(sys.argv[1]))
except RetuneError as error:
    sys.exit(str(error))
"""
# vLLM's command line, answered by the emulator; it has a child as vLLM has, and SIGUSR1 makes it hang.
STAND_IN = """
import argparse, signal, subprocess, sys
from retune.testing.vllm_stub import VllmStub
parser = argparse.ArgumentParser()
parser.add_argument("--served-model-name")
parser.add_argument("--port", type=int)
given, _ = parser.parse_known_args()
if given.served_model_name == "missing":
    sys.exit("ValueError: no such model")
subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
with VllmStub(given.served_model_name, given.port) as stub:
    signal.signal(signal.SIGUSR1, lambda *_: setattr(stub, "hang", True))
    stub.stopped.wait()
"""


def stand_in(folder: Path) -> Path:
    """Make a package `vllm` whose server is the emulator; returns what goes on the path."""
    package = folder / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(STAND_IN)
    return folder


class Served:
    """A running `serve`.

    Args:
        project: The project's folder; all files lie below it.
        vllm_python: Interpreter with vLLM, or our own for the stand-in.
        path: More on the module path.
        options: Arguments of `serve`.
    """

    def __init__(self, project: Path, vllm_python: str, path: str = "", **options: Any) -> None:
        self.settings = Settings.load({"project": str(project), "vllm_python": vllm_python}.get)
        self.db = Database(self.settings.state_url)
        self.db.migrate()
        self._path = path
        self._options = {"endpoint": ENDPOINT, "base_model": "base", **options}
        self.start()

    def start(self) -> None:
        """Start it; `ready` waits."""
        search = os.pathsep.join([str(PLUGINS), self._path])
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, repr(self._options)],
            env={
                **os.environ,
                "PYTHONPATH": search.rstrip(os.pathsep),
                "RETUNE_PROJECT": str(self.settings.project),
                "RETUNE_HOME": str(self.settings.home),
                "RETUNE_VLLM_PYTHON": self.settings.vllm_python,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def places(self) -> dict[str, Any]:
        """What serve.json says; empty where it is not there."""
        path = self.settings.home / "serve.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def ready(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until all parts answer."""
        until(lambda: bool(self.places) or self.process.poll() is not None, "serve.json", timeout_s)
        assert self.process.poll() is None, self.said()
        return self.places

    def pid(self, part: str) -> int:
        """The process that serve.json names."""
        return int(self.places["pids"][part])

    def kill(self, part: str, pid: int | None = None) -> None:
        """`kill -9` a part and wait until another process does its work."""
        old = self.pid(part)
        os.kill(pid or old, signal.SIGKILL)
        self.replaced(part, old)

    def replaced(self, part: str, old: int, timeout_s: float = 300.0) -> None:
        """Wait until a part has another process."""
        until(lambda: self.places.get("pids", {}).get(part, old) != old, f"{part} is replaced", timeout_s)

    def said(self) -> str:
        """Wait for its end and return what it said."""
        text, _ = self.process.communicate(timeout=60)
        return text

    def groups(self) -> list[int]:
        """The process groups that were recorded."""
        book = json.loads((self.settings.home / "serve.pids.json").read_text())
        return [int(group["pid"]) for group in book.values()]

    def end(self, name: int = signal.SIGTERM) -> str:
        """End it and check that nothing is left."""
        groups = self.groups()
        self.process.send_signal(name)
        text = self.said()
        assert self.process.returncode == 0, text
        assert [pid for group in groups for pid in members(group)] == []
        assert not self.places
        return text
