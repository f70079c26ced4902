"""A stub of vLLM and a real Envoy in front of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from retune.records import Route
from retune.serving import gateway
from retune.serving.processes import end_group, free_ports
from retune.state.database import Database
from retune.testing.vllm_stub import VllmStub
from tests.unit.serving.builders import until


@dataclass
class Gateway:
    """A running gateway."""

    folder: Path
    port: int
    replica: str

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=20)
        self.start()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start Envoy and wait for it."""
        command = gateway.prepare(self.folder, host="127.0.0.1", port=self.port, replicas=[self.replica])
        with (self.folder / "envoy.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until(self.answers, f"Envoy answers: {(self.folder / 'envoy.log').read_text()}")

    def answers(self) -> bool:
        """Say whether it is up."""
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def end(self) -> None:
        """End Envoy."""
        end_group(self.process.pid, self.process)

    def lead(self, *routes: Route) -> None:
        """Publish routes and wait until Envoy follows them."""
        gateway.publish(self.folder, gateway.render(routes, [self.replica]))
        for route in routes:
            until(lambda route=route: self.follows(route), f"{route.alias} is at {route.version}")

    def follows(self, route: Route) -> bool:
        """Say whether the alias is at the route's version."""
        body = {"model": route.alias, "prompt": "x"}
        answer = self.client.post("/v1/completions", json=body, headers={"x-retune-probe": "1"})
        return answer.headers.get("x-retune-route") == str(route.version)

    def ask(self, alias: str, content: str = "hello", **more: object) -> httpx.Response:
        """Send one chat request."""
        body = {"model": alias, "messages": [{"role": "user", "content": content}], **more}
        return self.client.post("/v1/chat/completions", json=body)

    def captured(self, alias: str, count: int) -> list[bytes]:
        """Wait for so many captured lines of an alias and return them."""
        log, mark = gateway.access_log(self.folder), b'"alias":"%s"' % alias.encode()

        def found() -> list[bytes]:
            lines = log.read_bytes().splitlines() if log.exists() else []
            return [line for line in lines if mark in line and b'"probe":""' in line]

        until(lambda: len(found()) >= count, f"{count} captured lines")
        return found()


@pytest.fixture(scope="session")
def stub() -> Iterator[VllmStub]:
    with VllmStub() as server:
        yield server


@pytest.fixture(scope="session")
def envoy(stub: VllmStub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    port = free_ports("127.0.0.1", {"gateway": 0})["gateway"]
    running = Gateway(tmp_path_factory.mktemp("gateway"), port, stub.url)
    yield running
    running.end()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    yield database
    database.engine.dispose()
