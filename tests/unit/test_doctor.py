from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from retune import doctor
from retune.doctor import Finding
from retune.settings import Settings
from retune.state import replicas
from retune.state.database import Database
from retune.state.replicas import ReplicaState
from tests.unit.specs import GOOD


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project that was never set up."""
    folder = tmp_path / "include" / "pipelines"
    folder.mkdir(parents=True)
    (folder / "tickets.yaml").write_text(GOOD)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    return Settings.load({"project": str(tmp_path)}.get)


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers /v1/models, /health and /healthz, and nothing else."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ("/v1/models", "/health", "/healthz") else 500)
            self.end_headers()
            self.wfile.write(json.dumps({}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_fresh_checkout_is_told_what_to_do(settings: Settings) -> None:
    console = Console(record=True, width=200)
    assert not doctor.examine(settings, console)
    said = console.export_text()
    assert said.count("run `retune migrate`") == 2
    assert "run `make setup`, or set RETUNE_VLLM_PYTHON" in said


def test_a_sound_installation_passes(
    settings: Settings, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database(settings.state_url).migrate()
    with sqlite3.connect(settings.home / "mlflow.db") as mlflow:
        mlflow.execute("create table experiments (experiment_id integer)")
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM", server)
    # Any module that is there will do for vLLM: what is looked for is a folder of that name.
    folder = settings.home / "fake"
    (folder / "vllm").mkdir(parents=True)
    (folder / "vllm" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    console = Console(record=True, width=200)
    assert doctor.examine(replace(settings, vllm_python=sys.executable), console), console.export_text()


def test_mlflow_server(settings: Settings, server: str) -> None:
    assert only(doctor.look_at_mlflow(replace(settings, mlflow_uri=server))).level == "ok"
    gone = only(doctor.look_at_mlflow(replace(settings, mlflow_uri="http://127.0.0.1:1")))
    assert (gone.level, gone.action) == ("fail", "start the server, or set RETUNE_MLFLOW_URI")


def test_endpoints(settings: Settings, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = only(doctor.look_at_endpoints(settings))
    assert unknown.level == "warn" and "set RETUNE_ENDPOINT_VLLM" in unknown.action
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM", server)
    assert only(doctor.look_at_endpoints(settings)).level == "ok"
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM", f"{server}/elsewhere")
    assert only(doctor.look_at_endpoints(settings)).what.endswith("answered 500")
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM", "http://127.0.0.1:1")
    assert only(doctor.look_at_endpoints(settings)).level == "fail"


def test_no_password_is_said(settings: Settings, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = server.replace("://", "://me:s3cret@")
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM", address)
    for uri in (address, "http://me:s3cret@127.0.0.1:1"):
        found = [
            *doctor.look_at_mlflow(replace(settings, mlflow_uri=uri)),
            *doctor.look_at_endpoints(settings),
        ]
        assert all("me:***@" in finding.what and "s3cret" not in finding.what for finding in found)


def test_the_agents_of_the_deploy_endpoint(settings: Settings, server: str) -> None:
    folder = settings.project / "include" / "pipelines"
    text = (folder / "tickets.yaml").read_text().replace("deploy: {endpoint: vllm", "deploy: {endpoint: far")
    (folder / "tickets.yaml").rename(folder / "tickets.yml").write_text(text)
    assert not list(doctor.look_at_agents(settings))  # no state yet, which another look says
    db = Database(settings.state_url)
    db.migrate()
    silent = only(doctor.look_at_agents(settings))
    assert (silent.level, silent.what) == ("warn", "no agent of far reported lately")

    def report(gateway: str, healthy: bool = True) -> Finding:
        state = ReplicaState("a", "far", "http://vllm", "base", healthy=healthy, gateway_url=gateway)
        with db.write() as tx:
            replicas.report(tx, state, datetime.now(UTC))
        return only(doctor.look_at_agents(settings))

    assert report(server) == Finding("agent", "ok", "a of far")
    assert report("http://127.0.0.1:1").level == "fail"
    assert report(server, healthy=False).what == "a of far: vLLM does not answer it"


def test_a_bad_spec_is_counted_and_named(settings: Settings) -> None:
    path = settings.project / "include" / "pipelines" / "tickets.yaml"
    path.write_text(GOOD.replace("version: 1", "version: 2") + "what: ever\n")
    found = only(doctor.look_at_specs(settings))
    assert found.what == "2 problems in include/pipelines/tickets.yaml"
    assert not list(doctor.look_at_endpoints(settings))


def test_interpreters(settings: Settings, tmp_path: Path) -> None:
    missing = replace(settings, trainer_python=str(tmp_path / "python"), vllm_python=sys.executable)
    trainer, vllm = doctor.look_at_interpreters(missing)
    assert trainer.level == "fail" and "No such file" in trainer.what
    assert vllm.level == "fail" and vllm.what.endswith("has no vllm")


def test_without_an_airflow_home_nobody_asks_airflow(settings: Settings, tmp_path: Path) -> None:
    assert only(doctor.look_at_pool(settings)).level == "warn"
    assert not (tmp_path / "airflow").exists()


def test_an_occupied_port_is_said(settings: Settings, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(server.rsplit(":", 1)[1])
    monkeypatch.setattr(doctor, "_PORTS", {port: "gateway"})
    disk, taken = doctor.look_at_host(settings)
    assert disk.part == "disk"
    assert (taken.level, taken.what) == ("warn", f"{port} (gateway) is taken")
