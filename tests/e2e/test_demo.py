"""`make demo` on this machine: the whole loop by real parts, and what is killed comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from retune.artifacts import Artifacts
from retune.evaluation.evaluate import read_outcomes
from retune.state import releases
from retune.state.database import Database

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / ".retune" / "demo"
DEADLINE_S = 240.0


def make(target: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    # The tests' own Airflow and Retune are not the demo's.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "RETUNE_"))}
    return subprocess.run(
        ["make", target],
        cwd=ROOT,
        env=kept,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def left_behind(project: Path = PROJECT) -> list[str]:
    """Return the processes that work in a project's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        text = " ".join(process.info["cmdline"] or [])
        home = (process.info["environ"] or {}).get("RETUNE_PROJECT", "")
        if process.pid != os.getpid() and (str(project) in text or home == str(project)):
            found.append(text)
    return found


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the demo once; yield its output and `demo.json`."""
    done = make("demo", timeout_s=1500)
    try:
        assert done.returncode == 0, done.stdout[-4000:]
        yield done.stdout, json.loads((ROOT / ".retune" / "demo.json").read_text())
    finally:
        make("demo-stop", timeout_s=120)
    assert left_behind() == []


def serving() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PROJECT / ".retune" / "serve.json").read_text())
    return found


def ask(timeout_s: float = 20.0) -> str:
    """Return the model that answers at the gateway, or what went wrong."""
    body = {
        "model": "support-tickets",
        "messages": [{"role": "user", "content": "My parcel is late."}],
        "max_tokens": 8,
    }
    url = f"{serving()['gateway_url']}/v1/chat/completions"
    try:
        answer = httpx.post(url, json=body, timeout=timeout_s, trust_env=False)
    except httpx.HTTPError as error:
        return repr(error)
    return str(answer.json().get("model")) if answer.is_success else f"{answer.status_code} {answer.text}"


def test_two_releases_are_earned_and_the_second_came_by_drift(demo: tuple[str, dict[str, Any]]) -> None:
    _, found = demo
    first, second = found["releases"]
    assert [first["number"], second["number"]] == [1, 2]
    assert (first["run_type"], second["run_type"]) == ("manual", "asset_triggered")
    assert first["decision"] == second["decision"] == "PROMOTE"
    assert first["model_digest"] != second["model_digest"]
    for entry in (first, second):
        assert [answer["model"] for answer in entry["gateway_answers"]] == [entry["model_digest"]] * 5
        for metrics in (entry["base"], entry["tuned"]):
            low, high = metrics["accuracy"]["interval"]
            assert low <= metrics["accuracy"]["value"] <= high and metrics["accuracy"]["n"] >= 50
        assert entry["tuned"]["accuracy"]["interval"][0] > entry["base"]["accuracy"]["interval"][1] + 0.05
        assert "Candidate against base" in entry["reason"]
    assert "Candidate against champion" in second["reason"]
    assert found["live"]["targets"] == [{"release": 2, "model_digest": second["model_digest"], "weight": 100}]


def test_drift_is_found_in_moved_traffic_only(demo: tuple[str, dict[str, Any]]) -> None:
    _, found = demo
    assert not found["drift"]["before"]["drifted"]
    assert found["drift"]["drifted"] and found["drift"]["release"] == 1
    assert found["drift"]["window_rows"] >= 100


def test_the_first_champion_loses_on_the_moved_tickets(demo: tuple[str, dict[str, Any]]) -> None:
    state = Database(f"sqlite:///{PROJECT / '.retune' / 'state.db'}")
    artifacts = Artifacts((PROJECT / ".retune" / "artifacts").as_uri())
    with state.read() as tx:
        first, second = releases.list_all(tx, "support-tickets")
    usual = {outcome.id for outcome in read_outcomes(first.report, artifacts)}
    again = read_outcomes(second.decision.reports["champion"], artifacts)
    on_usual = [outcome.correct for outcome in again if outcome.id in usual]
    on_moved = [outcome.correct for outcome in again if outcome.id not in usual]
    assert len(on_usual) == len(usual) and len(on_moved) >= 50
    assert sum(on_moved) / len(on_moved) <= sum(on_usual) / len(on_usual) - 0.10


def test_it_says_where_to_look(demo: tuple[str, dict[str, Any]]) -> None:
    output, found = demo
    for word in ("Airflow", "MLflow", "gateway", "release 2", "make demo-stop"):
        assert word in output
    assert found["stages"]["total"] > 0
    assert httpx.get(serving()["gateway_url"] + "/v1/models", trust_env=False).is_success


@pytest.mark.parametrize("part", ["agent", "gateway", "vllm"])
def test_what_is_killed_under_traffic_comes_back(demo: tuple[str, dict[str, Any]], part: str) -> None:
    digest = demo[1]["live"]["targets"][0]["model_digest"]
    before = serving()["pids"][part]
    assert ask() == digest
    stop = threading.Event()
    answers: list[str] = []

    def callers() -> None:
        while not stop.is_set():
            answers.append(ask())

    threads = [threading.Thread(target=callers) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_S
        while serving()["pids"][part] == before or set(answers[-6:]) != {digest}:
            assert time.monotonic() < deadline, f"{part} did not come back: {answers[-3:]}"
            stop.wait(0.2)
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    # No other model ever answers for the champion, and without the agent nothing is lost at all.
    assert not [answer for answer in answers if answer.startswith("sha256:") and answer != digest]
    if part == "agent":
        assert set(answers) == {digest}


def test_a_rollback_is_one_command(demo: tuple[str, dict[str, Any]]) -> None:
    first, second = demo[1]["releases"]
    assert ask() == second["model_digest"]
    env = {**os.environ, "RETUNE_PROJECT": str(PROJECT), "RETUNE_HOME": str(PROJECT / ".retune")}
    command = [str(ROOT / ".venv" / "bin" / "retune")]
    subprocess.run([*command, "rollback", "support-tickets"], env=env, check=True, timeout=60)
    deadline = time.monotonic() + 60
    while (answer := ask()) != first["model_digest"]:
        assert answer == second["model_digest"] and time.monotonic() < deadline
    told = subprocess.run(
        [*command, "status"], env=env, check=True, timeout=60, capture_output=True, text=True
    )
    assert "release 1, rolled back from 2" in told.stdout
