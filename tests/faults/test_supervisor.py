"""The supervisor with real Envoy, a real agent and a stand-in for vLLM: whatever dies comes back."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from retune.artifacts import Artifacts, digest_of_tree
from retune.errors import EndpointError
from retune.serving import rollout
from retune.serving.processes import members
from tests.faults.serving import Served, stand_in
from tests.unit.serving.builders import ENDPOINT, NOW, stored_model


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    path = stand_in(tmp_path / "stand-in")
    running = Served(tmp_path / "project", sys.executable, str(path), probe_timeout_s=0.5)
    yield running
    if running.process.poll() is None:
        running.end()


def test_each_part_comes_back_and_all_end_together(served: Served) -> None:
    served.ready()
    for part in ("gateway", "agent", "vllm"):
        served.kill(part)
    text = served.end(signal.SIGINT)
    assert text.count("ended with status -9; starting it again") == 3


def test_a_hung_server_is_replaced_though_its_health_is_fine(served: Served) -> None:
    served.ready()
    old = served.pid("vllm")
    os.kill(old, signal.SIGUSR1)
    served.replaced("vllm", old)
    assert "no longer does its work" in served.end()


def test_what_a_killed_supervisor_left_is_ended_by_the_next(served: Served) -> None:
    served.ready()
    groups = served.groups()
    left = [pid for group in groups for pid in members(group)]
    served.process.kill()
    served.process.wait()
    os.kill(served.pid("vllm"), signal.SIGKILL)  # its child lives on without it
    assert all(members(group) for group in groups)
    served.start()
    served.replaced("gateway", served.pid("gateway"))
    alive = {process.pid for process in psutil.process_iter(["status"]) if process.info["status"] != "zombie"}
    assert not alive & set(left)
    assert "left over from an earlier start" in served.end()


def test_only_one_serves_in_a_home(served: Served, tmp_path: Path) -> None:
    served.ready()
    second = Served(served.settings.project, sys.executable)
    assert "another `retune serve` runs in" in second.said()
    assert second.process.returncode == 1
    assert served.places


def test_an_occupied_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        refused = Served(tmp_path, sys.executable, gateway_port=port)
        assert f"port {port} of 127.0.0.1 for the gateway cannot be taken" in refused.said()


def test_a_part_that_cannot_start_ends_the_others_and_says_why(tmp_path: Path) -> None:
    path = stand_in(tmp_path / "stand-in")
    failed = Served(tmp_path / "project", sys.executable, str(path), base_model="missing")
    text = failed.said()
    assert failed.process.returncode == 1
    assert "vllm ended with status 1 before it was up; its last words: ValueError: no such model" in text
    assert not [pid for group in failed.groups() for pid in members(group)]


def test_a_state_without_tables_is_said(tmp_path: Path) -> None:
    refused = Served(tmp_path, sys.executable)
    refused.said()
    refused.db.engine.dispose()
    (tmp_path / ".retune" / "state.db").unlink()
    refused.start()
    assert "run `retune migrate`" in refused.said()


def test_an_adapter_of_other_base_files_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "project" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    served = Served(tmp_path / "project", sys.executable, str(stand_in(tmp_path / "stand-in")))
    served.ready()
    artifacts = Artifacts(served.settings.artifacts_url)
    model = stored_model(artifacts, tmp_path / "adapter")
    same = stored_model(artifacts, tmp_path / "same").model_copy(update={"base_digest": digest_of_tree(base)})
    for wish in (model, same):
        rollout.place(wish, ENDPOINT, f"evaluate:{wish.digest}", None, db=served.db, now=NOW)
    rollout.wait_ready(same.digest, ENDPOINT, db=served.db, timeout_s=20)
    with pytest.raises(EndpointError, match=f"as {model.base_digest}, but .* with {same.base_digest}"):
        rollout.wait_ready(model.digest, ENDPOINT, db=served.db, timeout_s=20)
    served.end()
