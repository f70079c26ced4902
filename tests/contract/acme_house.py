"""The backend of docs/backends.md, as it stands there, before the small service that it speaks to."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from retune.backends.attempts import job_key
from retune.backends.base import Backend, Order, load_backend
from retune.serving.processes import free_ports
from retune.settings import EndpointAddress, EnvironmentConnections
from tests.contract.house import House
from tests.tuning import make_bench

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backends.md"
KEY = "acme-key"
PLACE = {"connection": "acme"}
_RUNS_S = 1.0


@dataclass
class AcmeService:
    """Trains nothing, but says all that a service says."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def app(self) -> Starlette:
        routes: list[tuple[str, str, Callable[[Request], Any]]] = [
            ("GET", "/models", self.models),
            ("POST", "/jobs", self.create),
            ("GET", "/jobs", self.found),
            ("GET", "/jobs/{id}", self.one),
            ("GET", "/jobs/{id}/curves", self.curves),
            ("POST", "/jobs/{id}/cancel", self.cancel),
        ]
        return Starlette(routes=[Route(path, self.behind_key(do), methods=[way]) for way, path, do in routes])

    def behind_key(self, do: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return JSONResponse("wrong key", 401)
            return JSONResponse(await do(request))

        return answer

    async def models(self, request: Request) -> Any:
        return ["small"]

    async def create(self, request: Request) -> Any:
        asked = await request.json()
        name = f"job-{next(self.numbers)}"
        self.jobs[name] = {
            "id": name,
            "created": time.time(),
            "cancelled": False,
            "key": asked["key"],
            **asked["recipe"]["hyperparameters"],
        }
        return self.shown(name)

    async def found(self, request: Request) -> Any:
        return [
            self.shown(name) for name, job in self.jobs.items() if job["key"] == request.query_params["key"]
        ]

    async def one(self, request: Request) -> Any:
        return self.shown(request.path_params["id"])

    async def curves(self, request: Request) -> Any:
        done = self.shown(request.path_params["id"])["status"] == "succeeded"
        points = [(5, 0.5, {"loss": 2.0}), (10, 1.0, {"loss": 1.0, "eval_loss": 1.5})]
        return {"points": points if done else points[:1], "total": 10}

    async def cancel(self, request: Request) -> Any:
        job = self.jobs[request.path_params["id"]]
        if self.shown(job["id"])["status"] == "running":
            job["cancelled"] = True
        return {}

    def shown(self, name: str) -> dict[str, Any]:
        job = self.jobs[name]
        ended = time.time() - job["created"] >= job.get("runs_s", _RUNS_S)
        status = "cancelled" if job["cancelled"] else "running"
        error = ""
        if ended and not job["cancelled"]:
            status, error = ("failed", "no such word -> mend it") if job.get("fails") else ("succeeded", "")
        return {
            "id": name,
            "created": job["created"],
            "status": status,
            "error": error,
            "seconds": 1.0 if status == "succeeded" else 0.0,
            "model": f"acme-{name}",
        }


class OneEndpoint(EnvironmentConnections):
    """Knows one service, by every name."""

    def __init__(self, address: EndpointAddress) -> None:
        self._address = address

    def endpoint(self, name: str) -> EndpointAddress:
        return self._address


def code_of_page() -> str:
    """Return the backend of the page."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found.group(1)


def install(folder: Path) -> None:
    """Install the page's backend as a package would be, by an entry point."""
    module = ModuleType("retune_acme")
    exec(compile(code_of_page(), str(PAGE), "exec"), module.__dict__)
    sys.modules["retune_acme"] = module
    metadata = folder / "retune_acme-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: retune-acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[retune.backends]\nacme = retune_acme:AcmeBackend\n")
    sys.path.insert(0, str(folder))


@contextmanager
def acme_house(folder: Path) -> Iterator[House]:
    """The house of the contract suite on the page's backend."""
    port = free_ports("127.0.0.1", {"acme": 0})["acme"]
    config = uvicorn.Config(AcmeService().app(), host="127.0.0.1", port=port, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    install(folder / "site")
    address = EndpointAddress(f"http://127.0.0.1:{port}", KEY)
    bench = replace(make_bench(folder / "project"), connections=OneEndpoint(address))
    dataset = bench.dataset()

    def connect() -> Backend:
        backend = load_backend("acme", bench.installation, PLACE)
        backend.poll_every_s = 0.05
        return backend

    def order(base_model: str = "small", **options: Any) -> Order:
        changed = {"backend": "acme", "base_model": base_model, "hyperparameters": options, "place": PLACE}
        recipe = bench.recipe().model_copy(update=changed)
        return Order(job_key(dataset, recipe, "acme", "acme", 1), 1, recipe, dataset)

    try:
        yield House(
            connect=connect,
            artifacts=bench.artifacts,
            good=order(),
            long=order(runs_s=10_000),
            refused=order(base_model="huge"),
            failing=order(fails=True),
        )
    finally:
        sys.path.remove(str(folder / "site"))
        del sys.modules["retune_acme"]
        server.should_exit = True
        thread.join()
