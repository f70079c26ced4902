"""The deploy and watch DAGs from end to end: real tasks, agent and Envoy; a stub in vLLM's place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from retune.airflow.operators import deploy
from retune.errors import EndpointError
from retune.state import drift, ledger, releases, replicas, routes
from retune.status import pipeline_status
from retune.testing.vllm_stub import VllmStub
from retune.text.captured import read_window
from tests.dags.conftest import House, events, skilled, states
from tests.dags.test_runs import all_releases, another_release, live, now
from tests.unit.serving.builders import until
from tests.unit.serving.conftest import Gateway

DEPLOYED = ["plan_rollout", "load_everywhere", "route_traffic", "verify"]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_deploy_leads_the_alias_to_the_release_and_then_has_nothing_to_do(
    released: House, gateway: Gateway
) -> None:
    [release] = all_releases(released)
    found = states(released.run("deploy"))
    assert found == dict.fromkeys(DEPLOYED, "success")
    assert live(released) == 1
    assert gateway.ask(released.pipeline, "my invoice").json()["model"] == release.model.digest
    again = states(released.run("deploy"))
    assert again == dict.fromkeys(DEPLOYED, "skipped")


def test_a_hosted_release_is_left_with_its_provider(
    released: House, gateway: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    assert set(states(released.run("deploy")).values()) == {"success"}
    [first] = all_releases(released)
    told = {"kind": "hosted", "digest": "sha256:" + "7" * 64, "backend": "openai", "served_as": "ft:ours"}
    model = first.model.model_copy(update={**told, "place": {"connection": "openai_eu"}})
    with released.db.write() as tx:
        about = (first.spec_digest, model, first.dataset_digest, first.decision, "another run", now())
        second = releases.create(tx, released.pipeline, *about)
    for run in (released.run("deploy"), released.run("deploy", release=second.number)):
        assert states(run) == dict.fromkeys(DEPLOYED, "skipped")
    told_twice = capfd.readouterr().out.count(
        "release 2 is served by openai, not by an endpoint: ask for 'ft:ours' there, through connection"
        " 'openai_eu'; no alias can lead to it yet"
    )
    assert told_twice == 2
    assert live(released) == 1
    with released.db.read() as tx:
        waits = pipeline_status(tx, released.pipeline, now()).waits
    assert [line for line in waits if "ask for 'ft:ours' there" in line] == list(waits)


def test_a_release_that_does_not_answer_is_rolled_back(
    released: House, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "_PATIENCE_S", 1.0)
    assert set(states(released.run("deploy")).values()) == {"success"}
    second = another_release(released, tmp_path)
    alias = released.spec.deploy.alias

    def dies_once_routed(model: str, prompt: str) -> str:
        with released.db.read() as tx:
            [agent] = replicas.live(tx, "vllm_test", now())
        if model == second.model.digest and agent.routes.get(alias, 0) >= 2:
            raise ConnectionAbortedError
        return skilled(model, prompt)

    released.stub.answer = dies_once_routed
    found = states(released.run("deploy"))
    assert [found[task] for task in DEPLOYED] == ["success", "success", "success", "failed"]
    assert live(released) == 1
    [first, _] = all_releases(released)
    assert gateway.ask(alias, "my invoice").json()["model"] == first.model.digest
    with released.db.read() as tx:
        last = ledger.entries(tx, released.pipeline)[-1]
        assert [route.version for route in routes.history(tx, alias)] == [3, 2, 1]
    assert last.event == "rollback" and last.actor.startswith(f"airflow {released.pipeline}.deploy")

    assert set(states(released.run("deploy")).values()) == {"skipped"}
    released.stub.answer = skilled
    assert set(states(released.run("deploy", release=2)).values()) == {"success"}
    assert live(released) == 2


def test_a_release_that_no_gateway_follows_is_taken_back(
    released: House, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(states(released.run("deploy")).values()) == {"success"}
    another_release(released, tmp_path)
    gateway.end()
    monkeypatch.setattr(deploy, "_TIMEOUT_S", 1.0)
    found = states(released.run("deploy"))
    assert [found[task] for task in DEPLOYED] == ["success", "success", "failed", "upstream_failed"]
    assert live(released) == 1
    with released.db.read() as tx:
        assert ledger.entries(tx, released.pipeline)[-1].event == "rollback"
        assert releases.waiting(tx, released.pipeline) is None


def test_errors_of_a_gateway_are_borne_for_a_while_but_no_other_model() -> None:
    failures = iter(["a", "b"])

    def starting(model: str, prompt: str) -> str:
        if next(failures, None):
            raise ConnectionAbortedError
        return "pong"

    with VllmStub(base_model="ours", answer=starting) as stub:
        deploy.ask(stub.url, "ours", "ours")
        asked = len(stub.calls)
        assert asked == 2 + 5
        with pytest.raises(EndpointError, match="answered 'ours' with ours, not theirs"):
            deploy.ask(stub.url, "ours", "theirs")
        assert len(stub.calls) == asked + 1
        with pytest.raises(EndpointError, match="does not exist"):
            deploy.ask(stub.url, "unknown", "unknown", patience_s=0)


def test_a_first_release_that_does_not_answer_has_nothing_to_go_back_to(
    released: House, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "_PATIENCE_S", 1.0)
    alias = released.spec.deploy.alias

    def dies_once_routed(model: str, prompt: str) -> str:
        with released.db.read() as tx:
            live_agents = replicas.live(tx, "vllm_test", now())
        if any(alias in agent.routes for agent in live_agents):
            raise ConnectionAbortedError
        return skilled(model, prompt)

    released.stub.answer = dies_once_routed
    found = states(released.run("deploy"))
    assert [found[task] for task in DEPLOYED] == ["success", "success", "success", "failed"]
    assert live(released) == 1
    with released.db.read() as tx:
        assert [route.version for route in routes.history(tx, alias)] == [1]


def test_a_release_that_no_replica_can_load_never_gets_traffic(
    released: House, gateway: Gateway, tmp_path: Path
) -> None:
    assert set(states(released.run("deploy")).values()) == {"success"}
    another_release(released, tmp_path)
    released.stub.max_rank = 2
    found = states(released.run("deploy"))
    assert [found[task] for task in DEPLOYED] == ["success", "failed", "upstream_failed", "upstream_failed"]
    assert live(released) == 1


def test_watch_says_nothing_before_there_is_something_to_say(released: House, gateway: Gateway) -> None:
    assert states(released.run("watch")) == {"check_drift": "skipped", "raise_drift": "skipped"}
    released.run("deploy")
    before = len(events(released.pipeline, "drift"))
    assert states(released.run("watch")) == {"check_drift": "success", "raise_drift": "skipped"}
    with released.db.read() as tx:
        report = drift.last(tx, released.pipeline)
    assert report is not None and not report.drifted and "only 0 of 20 requests" in report.reason
    assert len(events(released.pipeline, "drift")) == before


def test_watch_wakes_tune_once_when_the_traffic_has_moved(released: House, gateway: Gateway) -> None:
    released.run("deploy")
    for number in range(60):
        answer = gateway.ask(released.pipeline, f"WHY is app {number} crash crash crash since update?!")
        assert answer.status_code == httpx.codes.OK

    def shipped() -> bool:
        window = read_window(released.settings.captured_url, released.pipeline, 1, LONG_AGO, 1000)
        return len(window) == 60

    until(shipped, "the traffic is captured")
    before = len(events(released.pipeline, "drift"))
    assert set(states(released.run("watch")).values()) == {"success"}
    assert len(events(released.pipeline, "drift")) == before + 1
    with released.db.read() as tx:
        assert drift.last_trigger(tx, released.pipeline) is not None
    assert states(released.run("watch")) == {"check_drift": "success", "raise_drift": "skipped"}
    assert len(events(released.pipeline, "drift")) == before + 1
