"""Runs vLLM, the gateway and the agent on this host, and starts again whatever dies or hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import filelock
import httpx

import retune
from retune.artifacts import write_atomically
from retune.errors import EndpointError, StateError
from retune.serving import gateway
from retune.serving.endpoint import Replica, base_digest, vllm_command, vllm_environment
from retune.serving.keeper import Keeper, Part
from retune.serving.processes import Book, free_ports
from retune.serving.shipping import start_rotation
from retune.settings import Settings
from retune.state import replicas
from retune.state.database import Database

_STALE_S = 60.0
_PROBE_VLLM_EVERY_S = 15.0
_LOCAL = "127.0.0.1"


def serve(
    *,
    settings: Settings,
    endpoint: str,
    base_model: str,
    host: str = _LOCAL,
    gateway_port: int = 0,
    vllm_port: int = 0,
    max_model_len: int | None = None,
    start_timeout_s: float = 900.0,
    probe_timeout_s: float = 10.0,
    report: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`; nothing that was started is left behind.

    Once all parts answer, `<home>/serve.json` says where; it is rewritten after each restart.

    Args:
        settings: Home, state, artifacts and vLLM's interpreter.
        endpoint: The endpoint's name, as specs have it.
        base_model: As recipes have it: a Hugging Face id or a folder against the project's root.
        host: Address of the gateway. vLLM listens on 127.0.0.1 only: it takes orders from anybody.
        gateway_port: The gateway's port; 0 takes a free one.
        vllm_port: vLLM's port; 0 takes a free one.
        max_model_len: Context in tokens; by default what the model can, at most 4,096.
        start_timeout_s: Longest wait for vLLM to come up.
        probe_timeout_s: Three completions in a row that take longer, while vLLM makes no token at all,
            mean that it hangs.
        report: Takes one line when something happens.
        stop: Set it to end; signals set it too.

    Raises:
        EndpointError: Another `retune serve` runs here, a port is occupied, or a part cannot start.
        StateError: The state is not migrated or cannot be read.
    """
    Database(settings.state_url).check()
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(settings.home / "serve.lock", timeout=0)
    try:
        with lock:
            stop = stop or threading.Event()
            _end_on_signals(stop)
            book = Book(settings.home / "serve.pids.json")
            for name in book.end_leftovers():
                report(f"{name} was left over from an earlier start and is ended")
            vllm = free_ports(_LOCAL, {"vLLM server": vllm_port})
            ports = {**vllm, **free_ports(host, {"gateway": gateway_port})}
            house = _House(settings, endpoint, base_model, host, ports, probe_timeout_s, report)
            house.run(book, stop, max_model_len, start_timeout_s)
    except filelock.Timeout:
        raise EndpointError(f"another `retune serve` runs in {settings.home}", "end it first") from None


class _House:
    """The three parts and what they share."""

    def __init__(
        self,
        settings: Settings,
        endpoint: str,
        base_model: str,
        host: str,
        ports: dict[str, int],
        probe_timeout_s: float,
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._base_model = base_model
        self._host = host
        self._ports = ports
        self._probe_timeout_s = probe_timeout_s
        self._report = report
        self._keepers: list[Keeper] = []
        self._writing = threading.Lock()
        self._db = Database(settings.state_url)
        self._folder = settings.home / "gateway"
        self._agent = f"{socket.gethostname()}-{endpoint}"
        self._vllm_url = f"http://{_LOCAL}:{ports['vLLM server']}"
        reached = _LOCAL if host in ("0.0.0.0", "::") else host
        self._gateway_url = f"http://{reached}:{ports['gateway']}"
        self._vllm = Replica(self._vllm_url)
        self._tokens = 0.0

    def run(
        self, book: Book, stop: threading.Event, max_model_len: int | None, start_timeout_s: float
    ) -> None:
        (self._settings.home / "serve.json").unlink(missing_ok=True)
        parts = [self._vllm_part(max_model_len, start_timeout_s), self._gateway_part(), self._agent_part()]
        for part in parts:
            log = self._settings.home / "logs" / f"{part.name}.log"
            self._keepers.append(Keeper(part, log, book, stop, self._report, self._on_ready))
        threads = [threading.Thread(target=keeper.run, name=keeper.part.name) for keeper in self._keepers]
        self._report(f"starting vLLM, the gateway and the agent; logs in {self._settings.home / 'logs'}")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (self._settings.home / "serve.json").unlink(missing_ok=True)
        for keeper in self._keepers:
            if keeper.error:
                raise keeper.error

    def _vllm_part(self, max_model_len: int | None, start_timeout_s: float) -> Part:
        return Part(
            name="vllm",
            command=lambda: vllm_command(
                self._settings,
                self._base_model,
                host=_LOCAL,
                port=self._ports["vLLM server"],
                max_model_len=max_model_len,
            ),
            environment=vllm_environment(),
            probe=lambda age: self._probe_vllm(),
            # After a completion vLLM's worker spins for a second: frequent probes take a core.
            probe_every_s=_PROBE_VLLM_EVERY_S,
            start_timeout_s=start_timeout_s,
        )

    def _probe_vllm(self) -> None:
        """A completion must come; one that only waits behind others which do come is no fault."""
        try:
            self._vllm.probe(self._base_model, self._probe_timeout_s)
        except EndpointError:
            made = self._vllm.tokens_made()
            if made <= self._tokens:
                self._tokens = made
                raise
            self._tokens = made

    def _gateway_part(self) -> Part:
        def command() -> list[str]:
            # A line that a crash cut off must not run into the next one.
            start_rotation(self._folder)
            return gateway.prepare(
                self._folder, host=self._host, port=self._ports["gateway"], replicas=[self._vllm_url]
            )

        return Part(name="gateway", command=command, probe=lambda age: self._probe_gateway())

    def _probe_gateway(self) -> None:
        try:
            httpx.get(f"{self._gateway_url}/healthz", timeout=5.0, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            raise EndpointError(f"{self._gateway_url}/healthz does not answer: {error}") from error

    def _agent_part(self) -> Part:
        command = [
            *(sys.executable, "-m", "retune.serving.agent", "--name", self._agent),
            *("--endpoint", self._endpoint, "--base-model", self._base_model),
            *("--replica-url", self._vllm_url),
            *("--base-digest", base_digest(self._settings, self._base_model)),
            *("--gateway-dir", str(self._folder), "--gateway-url", self._gateway_url),
        ]
        return Part(
            name="agent",
            command=lambda: command,
            environment=_agent_environment(self._settings),
            probe=self._probe_agent,
        )

    def _probe_agent(self, age: float) -> None:
        try:
            with self._db.read() as tx:
                live = replicas.live(tx, self._endpoint, datetime.now(UTC), min(age, _STALE_S))
        except StateError:
            return  # the state is not the agent's fault, and what serves goes on
        if self._agent not in {state.agent for state in live}:
            raise EndpointError(f"agent {self._agent!r} has not reported")

    def _on_ready(self) -> None:
        """Say where everything answers, once all of it does."""
        with self._writing:
            pids = {keeper.part.name: keeper.pid for keeper in self._keepers}
            if None in pids.values():
                return
            places = {
                "vllm_url": self._vllm_url,
                "gateway_url": self._gateway_url,
                "admin_url": gateway.admin_url(self._folder),
                "endpoint": self._endpoint,
                "base_model": self._base_model,
                "agent": self._agent,
                "pid": os.getpid(),
                "pids": pids,
            }
            write_atomically(self._settings.home / "serve.json", json.dumps(places, indent=2).encode())
        self._report(f"serving: gateway {self._gateway_url}, vLLM {self._vllm_url}")


def _agent_environment(settings: Settings) -> dict[str, str]:
    """Hand our own settings and package down, wherever they came from."""
    given = {f"RETUNE_{field.name.upper()}": str(getattr(settings, field.name)) for field in fields(settings)}
    package = str(Path(retune.__file__).parent.parent)
    return {**given, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]).rstrip(":")}


def _end_on_signals(stop: threading.Event) -> None:
    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(name) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(name, lambda *_: stop.set())
