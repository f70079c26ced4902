"""The agent with real state, a real Envoy and a stub of vLLM."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from retune.artifacts import Artifacts
from retune.errors import EndpointError
from retune.serving import rollout
from retune.serving.agent import run_agent
from retune.serving.processes import free_ports
from retune.settings import Settings
from retune.spec import MAX_LORA_RANK
from retune.state import ledger, placements, replicas
from retune.state.database import Database
from retune.state.replicas import ReplicaState
from retune.testing.vllm_stub import VllmStub
from tests.unit.serving.builders import (
    ENDPOINT,
    SPEC,
    adapter_files,
    stored_model,
    stored_release,
    until,
)
from tests.unit.serving.conftest import Gateway


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Host:
    """A host with an agent, and the ways to look at it."""

    db: Database
    artifacts: Artifacts
    settings: Settings
    gateway: Gateway
    replica_url: str

    def start(self) -> Callable[[], None]:
        """Start an agent; returns what ends it."""
        stopped = threading.Event()
        thread = threading.Thread(
            target=run_agent,
            kwargs={
                "db": Database(self.settings.state_url),
                "artifacts": self.artifacts,
                "settings": self.settings,
                "name": "host-1",
                "endpoint": ENDPOINT,
                "replica_url": self.replica_url,
                "base_model": "base",
                "gateway_dir": self.gateway.folder,
                "gateway_url": self.gateway.url,
                "stop": stopped.is_set,
                "poll_s": 0.02,
            },
            daemon=True,
        )
        thread.start()

        def end() -> None:
            stopped.set()
            thread.join(20)
            assert not thread.is_alive()

        return end

    def seen(self) -> ReplicaState:
        """What the agent reported last."""
        with self.db.read() as tx:
            found = replicas.live(tx, ENDPOINT, now())
        return found[0] if found else ReplicaState("", "", "", "", healthy=False)

    def model(self, folder: Path, rank: int = 8) -> str:
        """Store a model and ask for it; returns its digest."""
        model = stored_model(self.artifacts, folder, rank)
        rollout.place(model, ENDPOINT, f"evaluate:{folder.name}", None, db=self.db, now=now())
        return model.digest


@pytest.fixture
def vllm() -> Iterator[VllmStub]:
    with VllmStub() as server:
        yield server


@pytest.fixture
def host(db: Database, vllm: VllmStub, tmp_path: Path) -> Iterator[Host]:
    home = tmp_path / "home"
    settings = Settings.load({"project": str(tmp_path), "home": str(home), "state_url": db.url}.get)
    port = free_ports("127.0.0.1", {"gateway": 0})["gateway"]
    gateway = Gateway(home / "gateway", port, vllm.url)
    yield Host(db, Artifacts(settings.artifacts_url), settings, gateway, vllm.url)
    gateway.end()


@pytest.fixture
def agent(host: Host) -> Iterator[None]:
    end = host.start()
    yield
    end()


@pytest.mark.usefixtures("agent")
def test_a_wanted_model_is_loaded_probed_and_let_go(host: Host, vllm: VllmStub, tmp_path: Path) -> None:
    digest = host.model(tmp_path / "one")
    [state] = rollout.wait_ready(digest, ENDPOINT, db=host.db, timeout_s=20)
    assert (state.url, state.base_model, state.gateway_url) == (vllm.url, "base", host.gateway.url)
    assert ("/v1/completions", digest) in vllm.calls
    with host.db.write() as tx:
        placements.release(tx, ENDPOINT, "evaluate:one")
    until(lambda: host.seen().ready == () and not vllm.adapters, "the model is unloaded")
    until(lambda: not list((host.settings.home / "adapters").iterdir()), "its files are gone")


@pytest.mark.usefixtures("agent")
def test_a_model_that_cannot_serve_is_said_and_harms_no_other(
    host: Host, vllm: VllmStub, tmp_path: Path
) -> None:
    good = host.model(tmp_path / "good")
    rollout.wait_ready(good, ENDPOINT, db=host.db, timeout_s=20)
    wide = host.model(tmp_path / "wide", rank=MAX_LORA_RANK + 1)
    with pytest.raises(EndpointError, match="its rank is 65, but this endpoint serves at most 64"):
        rollout.wait_ready(wide, ENDPOINT, db=host.db, timeout_s=20)
    vllm.max_rank = 4
    refused = host.model(tmp_path / "refused")
    with pytest.raises(EndpointError, match="answered 500: LoRA rank 8 is greater"):
        rollout.wait_ready(refused, ENDPOINT, db=host.db, timeout_s=20)
    folder = adapter_files(tmp_path / "broken")
    (folder / "adapter_model.safetensors").write_bytes(b"nonsense")
    broken = stored_model(host.artifacts, tmp_path / "source").model_copy(
        update={"digest": host.artifacts.put_tree(folder).digest}
    )
    absent = broken.model_copy(update={"digest": "sha256:" + "0" * 64})
    other = stored_model(host.artifacts, tmp_path / "other").model_copy(update={"base_model": "another"})
    for model, said in [(broken, "add_lora"), (absent, "is not in"), (other, "made for 'another'")]:
        rollout.place(model, ENDPOINT, f"evaluate:{said}", None, db=host.db, now=now())
        with pytest.raises(EndpointError, match=said):
            rollout.wait_ready(model.digest, ENDPOINT, db=host.db, timeout_s=20)
    assert host.seen().ready == (good,) and host.seen().healthy
    assert set(vllm.adapters) == {good}


@pytest.mark.usefixtures("agent")
def test_releases_follow_each_other_and_go_back(host: Host, vllm: VllmStub, tmp_path: Path) -> None:
    made = []
    for number in (1, 2, 3):
        model = stored_model(host.artifacts, tmp_path / f"release {number}")
        release = stored_release(host.db, model, f"run {number}", tmp_path)
        route = rollout.deploy(release, SPEC, db=host.db, now=now())
        assert rollout.deploy(release, SPEC, db=host.db, now=now()) == route  # a retried task
        [state] = rollout.wait_routed("tickets", route.version, ENDPOINT, db=host.db, timeout_s=20)
        assert state.routes == {"tickets": number}
        answer = host.gateway.ask("tickets")
        assert (answer.json()["model"], answer.headers["x-retune-release"]) == (model.digest, str(number))
        made.append(release)
    one, two, three = (release.model.digest for release in made)
    until(lambda: set(vllm.adapters) == {two, three}, "the oldest is let go, the previous kept")
    for expected, live in ((two, 4), (one, 5)):
        route = rollout.rollback("tickets", "ana", db=host.db, now=now())
        assert route.version == live
        rollout.wait_routed("tickets", route.version, ENDPOINT, db=host.db, timeout_s=20)
        assert host.gateway.ask("tickets").json()["model"] == expected
    with pytest.raises(EndpointError, match="no release that answered before release 1"):
        rollout.rollback("tickets", "ana", db=host.db, now=now())
    with host.db.read() as tx:
        events = [(e.event, e.actor, e.detail["release"]) for e in ledger.entries(tx, "tickets")]
        ledger.verify(tx)
    assert events[3:] == [("rollback", "ana", 2), ("rollback", "ana", 1)]
    assert events[0] == ("deploy", "dag_run:run 1", 1)


def deployed(host: Host, tmp_path: Path, number: int) -> str:
    model = stored_model(host.artifacts, tmp_path / f"release {number}")
    release = stored_release(host.db, model, f"run {number}", tmp_path)
    route = rollout.deploy(release, SPEC, db=host.db, now=now())
    rollout.wait_routed("tickets", route.version, ENDPOINT, db=host.db, timeout_s=20)
    return model.digest


@pytest.mark.usefixtures("agent")
def test_a_broken_release_leaves_the_champion_serving(host: Host, tmp_path: Path) -> None:
    champion = deployed(host, tmp_path, 1)
    broken = stored_model(host.artifacts, tmp_path / "wide", rank=MAX_LORA_RANK + 1)
    release = stored_release(host.db, broken, "run 2", tmp_path)
    route = rollout.deploy(release, SPEC, db=host.db, now=now())
    with pytest.raises(EndpointError, match="its rank is 65"):
        rollout.wait_routed("tickets", route.version, ENDPOINT, db=host.db, timeout_s=20)
    assert host.gateway.ask("tickets").json()["model"] == champion
    assert host.seen().routes == {"tickets": 1}
    route = rollout.rollback("tickets", "ana", db=host.db, now=now())
    rollout.wait_routed("tickets", route.version, ENDPOINT, db=host.db, timeout_s=20)


@pytest.mark.usefixtures("agent")
def test_a_restarted_server_gets_all_its_models_back(host: Host, vllm: VllmStub, tmp_path: Path) -> None:
    champion = deployed(host, tmp_path, 1)
    candidate = host.model(tmp_path / "candidate")
    rollout.wait_ready(candidate, ENDPOINT, db=host.db, timeout_s=20)
    port = vllm.http.server_port
    vllm.__exit__()
    until(lambda: not host.seen().healthy and host.seen().ready == (), "the loss is reported")
    assert host.gateway.ask("tickets").status_code == 503
    with VllmStub(port=port):
        until(lambda: set(host.seen().ready) == {champion, candidate}, "both are back")
        until(lambda: host.seen().routes == {"tickets": 1}, "the route is confirmed again")
        assert host.gateway.ask("tickets").json()["model"] == champion


@pytest.mark.usefixtures("agent")
def test_a_restarted_gateway_serves_the_same_and_is_confirmed_again(host: Host, tmp_path: Path) -> None:
    champion = deployed(host, tmp_path, 1)
    host.gateway.process.kill()
    host.gateway.process.wait()
    until(lambda: host.seen().routes == {}, "the loss is reported")
    host.gateway.start()
    until(lambda: host.seen().routes == {"tickets": 1}, "the route is confirmed again")
    assert host.gateway.ask("tickets").json()["model"] == champion


def test_a_new_agent_and_a_lost_state_change_nothing_for_callers(
    host: Host, vllm: VllmStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end = host.start()
    champion = deployed(host, tmp_path, 1)
    end()
    loads = [call for call in vllm.calls if call[0] == "/v1/load_lora_adapter"]
    host.db.engine.dispose()
    state = tmp_path / "state.db"
    state.rename(tmp_path / "aside")
    state.mkdir()  # a database that cannot be opened
    calls = len(vllm.calls)
    end = host.start()
    with caplog.at_level(logging.WARNING):
        until(lambda: "state: Retune's database" in caplog.text, "the agent says what is wrong")
    assert host.gateway.ask("tickets").json()["model"] == champion
    state.rmdir()
    (tmp_path / "aside").rename(state)
    until(lambda: len(vllm.calls) > calls + 1 and host.seen().routes == {"tickets": 1}, "all is well again")
    end()
    assert [call for call in vllm.calls if call[0] == "/v1/load_lora_adapter"] == loads
    assert host.gateway.ask("tickets").json()["model"] == champion


@pytest.mark.usefixtures("agent")
def test_a_damaged_local_copy_is_brought_again(host: Host, vllm: VllmStub, tmp_path: Path) -> None:
    digest = host.model(tmp_path / "one")
    rollout.wait_ready(digest, ENDPOINT, db=host.db, timeout_s=20)
    folder = host.settings.home / "adapters" / digest.removeprefix("sha256:")
    (folder / "adapter_config.json").write_text("{}")
    httpx.post(f"{vllm.url}/v1/unload_lora_adapter", json={"lora_name": digest})
    until(lambda: digest in vllm.adapters, "it is loaded again")
    assert '"r": 8' in (folder / "adapter_config.json").read_text()


def test_a_route_never_loses_its_model(host: Host, vllm: VllmStub, tmp_path: Path) -> None:
    end = host.start()
    champion = deployed(host, tmp_path, 1)
    with host.db.write() as tx:
        placements.release(tx, ENDPOINT, "release:tickets:1")
    other = host.model(tmp_path / "other")
    rollout.wait_ready(other, ENDPOINT, db=host.db, timeout_s=20)
    end()
    assert set(vllm.adapters) == {champion, other}


def test_a_champion_goes_on_though_its_files_are_gone(host: Host, vllm: VllmStub, tmp_path: Path) -> None:
    end = host.start()
    champion = deployed(host, tmp_path, 1)
    end()
    shutil.rmtree(host.settings.home / "adapters")
    shutil.rmtree(host.settings.home / "artifacts")
    calls = len(vllm.calls)
    end = host.start()
    until(lambda: len(vllm.calls) > calls + 1 and host.seen().ready == (champion,), "it is ready")
    end()
    assert ("/v1/unload_lora_adapter", champion) not in vllm.calls
    assert host.gateway.ask("tickets").json()["model"] == champion


def test_one_failed_probe_does_not_unload_a_champion(host: Host, vllm: VllmStub, tmp_path: Path) -> None:
    end = host.start()
    champion = deployed(host, tmp_path, 1)
    end()

    adapters = vllm.adapters

    def refuse_once(body: dict[str, Any]) -> None:
        if body["model"] == champion:
            vllm.adapters = {}
        elif not vllm.adapters:
            vllm.adapters = adapters
            vllm.on_body = lambda body: None

    vllm.on_body = refuse_once
    end = host.start()
    until(lambda: champion in host.seen().failed, "the failure is reported")
    end()
    assert set(vllm.adapters) == {champion}
    assert host.gateway.ask("tickets").json()["model"] == champion


def test_traffic_that_cannot_be_kept_stops_no_rollout(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host.settings = replace(host.settings, captured_url="nosuchstore://captured")
    host.gateway.folder.mkdir(parents=True, exist_ok=True)
    (host.gateway.folder / "access-1.sealed").touch()
    end = host.start()
    until(lambda: "traffic: ValueError('Protocol not known" in caplog.text, "the reason is said")
    champion = deployed(host, tmp_path, 1)
    assert host.gateway.ask("tickets").json()["model"] == champion
    end()
    assert caplog.text.count("traffic:") == 1
