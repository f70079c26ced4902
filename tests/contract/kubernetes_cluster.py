"""A small cluster: the batch/v1 and v1 endpoints that a training job needs, and pods that are processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, Self

import uvicorn
from kubernetes import client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

TOKEN = "canary-token"
_JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
_PODS = "/api/v1/namespaces/{namespace}/pods"


class Container(Protocol):
    """What a pod runs."""

    def code(self) -> int | None: ...
    def log(self) -> str: ...
    def kill(self) -> None: ...


class ProcessContainer:
    """The manifest's command as a process of this host, with a folder in place of the claim."""

    def __init__(self, spec: dict[str, Any], volume: Path, number: int) -> None:
        (container,) = spec["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}["jobs"]
        words = [*container["command"], *container["args"]]
        assert words[0] == "python"
        here = [word.replace(mounted, str(volume), 1) if word.startswith(mounted) else word for word in words]
        environment = {one["name"]: one["value"] for one in container["env"]}
        self._log = volume / f"pod-{number}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *here[1:]],
                env=os.environ | environment | {"RETUNE_TRAINER_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def code(self) -> int | None:
        return self.process.poll()

    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class TalkingContainer:
    """Says what a test wants."""

    said: str = ""
    exit_code: int | None = None
    reason: str = ""
    """Why it ended, such as OOMKilled."""
    waiting: str = ""
    """Why it has not started, such as ImagePullBackOff."""

    def code(self) -> int | None:
        return self.exit_code

    def log(self) -> str:
        return self.said

    def kill(self) -> None:
        """It has no process."""


@dataclass
class Pod:
    name: str
    container: Container | None
    """None: no node has room."""
    job: str
    labels: dict[str, str]
    created: datetime

    @property
    def runs(self) -> bool:
        """Whether its container has started and not ended."""
        return self.container is not None and not self.waiting and self.container.code() is None

    @property
    def waiting(self) -> str:
        return getattr(self.container, "waiting", "")

    def as_json(self) -> dict[str, Any]:
        created = self.created.isoformat().replace("+00:00", "Z")
        metadata = {"name": self.name, "labels": self.labels, "creationTimestamp": created}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": self._status()}

    def _status(self) -> dict[str, Any]:
        if self.container is None:
            message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
            waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            return {"phase": "Pending", "conditions": [waits]}
        code = self.container.code()
        if self.waiting:
            phase, state = "Pending", {"waiting": {"reason": self.waiting, "message": "no such image"}}
        elif code is None:
            phase, state = "Running", {"running": {}}
        else:
            reason = getattr(self.container, "reason", "") or ("Completed" if code == 0 else "Error")
            phase = "Failed" if code else "Succeeded"
            state = {"terminated": {"exitCode": code, "reason": reason}}
        one = {"name": "trainer", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
        return {"phase": phase, "containerStatuses": [one | {"state": state}]}


@dataclass
class Cluster:
    """Answers on a port of 127.0.0.1, and keeps its Jobs at each request.

    Args:
        start: (pod spec, number) -> what the pod runs; None: it waits for a node.
    """

    start: Callable[[dict[str, Any], int], Container | None]
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """(status, headers) of the next answers."""
    fail_after_create: bool = False
    """The next POST is carried out, and answered as if it had failed."""
    _number: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __enter__(self) -> Self:
        one, many = [_JOBS + "/{name}", _PODS + "/{name}/log"], [_JOBS, _PODS]
        methods = ["GET", "POST", "PATCH", "DELETE"]
        app = Starlette(routes=[Route(path, self._answer, methods=methods) for path in one + many])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        for pod in self.pods:
            if pod.container:
                pod.container.kill()

    def write_kubeconfig(self, path: Path, context: str = "test", token: str = TOKEN) -> Path:
        cluster = {"name": "c", "cluster": {"server": self.url}}
        user = {"name": "u", "user": {"token": token}}
        used = {"name": context, "context": {"cluster": "c", "user": "u"}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user]}
        path.write_text(json.dumps(config | {"contexts": [used], "current-context": context}))
        return path

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        with self._lock:
            self.requests.append((request.method, request.url.path))
            if self.faults:
                status, headers = self.faults.pop(0)
                return _status(status, "as the test wants it", headers)
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return _status(401, "Unauthorized")
            self._reconcile()
            found = self._find(request, json.loads(body) if body else {})
            self._reconcile()
            if self.fail_after_create and request.method == "POST":
                self.fail_after_create = False
                return _status(504, "the server took too long")
        return found

    def _find(self, request: Request, body: dict[str, Any]) -> Response:
        name = request.path_params.get("name", "")
        if request.url.path.startswith("/api/v1"):
            return self._log(name) if name else self._list(request.query_params["labelSelector"])
        if request.method == "POST":
            return self._create(body)
        if name not in self.jobs:
            return _status(404, f'jobs.batch "{name}" not found')
        if request.method == "DELETE":
            del self.jobs[name]
            for pod in [pod for pod in self.pods if pod.job == name]:
                self._remove(pod)
            return _status(200, "")
        if request.method == "PATCH":
            _merge(self.jobs[name], body)
            self._reconcile()
        return JSONResponse(self.jobs[name])

    def _create(self, body: dict[str, Any]) -> Response:
        name = body["metadata"]["name"]
        if name in self.jobs:
            return _status(409, f'jobs.batch "{name}" already exists')
        unknown = unknown_fields(body)
        if unknown:  # as a server with strict field validation
            return _status(422, f"unknown fields: {unknown}")
        self.jobs[name] = json.loads(json.dumps(body))
        self.jobs[name]["metadata"]["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.jobs[name]["status"] = {}
        return JSONResponse(self.jobs[name], 201)

    def _list(self, selector: str) -> Response:
        key, _, value = selector.partition("=")
        found = [pod.as_json() for pod in self.pods if pod.labels.get(key) == value]
        return JSONResponse({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": found})

    def _log(self, name: str) -> Response:
        for pod in self.pods:
            if pod.name == name and (pod.container is None or pod.waiting):
                return _status(400, "container is waiting to start")
            if pod.name == name:
                return PlainTextResponse(pod.container.log())
        return _status(404, f'pods "{name}" not found')

    def _reconcile(self) -> None:
        """Do what the Job controller does."""
        for name, job in self.jobs.items():
            spec, status = job["spec"], job["status"]
            conditions = status.setdefault("conditions", [])
            if any(one["type"] in ("Complete", "Failed") for one in conditions):
                continue
            mine = [pod for pod in self.pods if pod.job == name]
            if spec.get("suspend"):
                for pod in mine:
                    self._remove(pod)
                status |= {"conditions": [_condition("Suspended", "JobSuspended")], "ready": 0}
                continue
            codes = [pod.container.code() if pod.container else None for pod in mine]
            failures = sum(code not in (None, 0) for code in codes)
            status["ready"] = sum(pod.runs for pod in mine)
            if 0 in codes:
                conditions.append(_condition("Complete", "CompletionsReached"))
            elif failures > spec["backoffLimit"]:
                conditions.append(_condition("Failed", "BackoffLimitExceeded", "Job has reached the limit"))
            elif None not in codes:
                self._start(name, job)
                status["ready"] = int(self.pods[-1].runs)

    def _start(self, name: str, job: dict[str, Any]) -> None:
        self._number += 1
        template = job["spec"]["template"]
        container = self.start(template["spec"], self._number)
        # Times of pods have whole seconds, which a real controller's pauses set apart.
        created = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=self._number)
        pod = Pod(f"{name}-{self._number}", container, name, template["metadata"]["labels"], created)
        self.pods.append(pod)

    def _remove(self, pod: Pod) -> None:
        if pod.container:
            pod.container.kill()
        self.pods.remove(pod)


def unknown_fields(manifest: dict[str, Any]) -> list[str]:
    """Return the fields of a Job that its published types do not have."""
    api = client.ApiClient()
    typed = api.deserialize(SimpleNamespace(data=json.dumps(manifest)), "V1Job")
    return sorted(_paths(manifest) - _paths(api.sanitize_for_serialization(typed)))


def _paths(value: Any, at: str = "") -> set[str]:
    if isinstance(value, dict):
        return (
            {at}.union(*(_paths(inner, f"{at}.{name}") for name, inner in value.items())) if value else set()
        )
    if isinstance(value, list):
        return {at}.union(*(_paths(inner, f"{at}[{number}]") for number, inner in enumerate(value)))
    return {f"{at}={value}"}


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for name, value in patch.items():
        if isinstance(value, dict):
            _merge(target.setdefault(name, {}), value)
        else:
            target[name] = value


def _condition(kind: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def _status(code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    found = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return JSONResponse(found, code, headers)
