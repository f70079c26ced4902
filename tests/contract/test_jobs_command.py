"""`retune jobs` and `retune emulate`: the command line before a provider that is one process away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from retune.cli import main
from retune.records import Job, JobStatus
from retune.serving.processes import end_group, free_ports
from retune.state import jobs
from retune.testing.emulators.process import Running, running
from tests.contract.openai_house import CANARY, Desk, make_desk

WITHIN_S = 60.0


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A project that is this process's, as the environment says it."""
    (tmp_path / "include" / "pipelines").mkdir(parents=True)
    monkeypatch.setenv("RETUNE_PROJECT", str(tmp_path))
    monkeypatch.setenv("RETUNE_HOME", str(tmp_path / ".retune"))
    return make_desk(tmp_path, Running("openai", tmp_path / "emulator"), settle_s=0.0)


def retune(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["retune", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def submit(desk: Desk) -> Job:
    """Submit a job, and store its handle as a run does."""
    backend, order = desk.backend(), desk.order()
    job = backend.submit(order, lambda: None)
    with desk.bench.db.write() as tx:
        now = desk.bench.site().clock()
        intent = {"recipe": order.recipe.to_json()}
        jobs.intend(tx, order.key, "tickets", "openai", 1, intent, now)
        jobs.submitted(tx, order.key, job)
    deadline = time.monotonic() + WITHIN_S
    while backend.poll(job).status is not JobStatus.RUNNING or desk.emulator.jobs()[0]["phase"] != "running":
        assert time.monotonic() < deadline, desk.emulator.jobs()
        time.sleep(0.02)
    return job


def test_a_job_rests_goes_on_and_is_cancelled_at_its_provider(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    phases = {"validating": 0.0, "queued": 0.0, "running": 600.0}
    with running("openai", tmp_path / "emulator", phase_s=phases, api_key=CANARY) as emulator:
        desk = Desk(desk.bench, emulator)
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{emulator.url}/v1")
        job = submit(desk)
        short, backend = job.key[:8], desk.backend()
        assert retune(monkeypatch, "jobs", "pause", short) == 0
        assert backend.poll(job).note == "paused"
        assert retune(monkeypatch, "jobs", "resume", short) == 0
        assert backend.poll(job).note == ""
        assert retune(monkeypatch, "jobs", "cancel", short) == 0
        assert backend.poll(job).status is JobStatus.CANCELLED
        assert emulator.problems() == []
    with desk.bench.db.read() as tx:
        row = jobs.get(tx, job.key)
    assert row and row.status is JobStatus.CANCELLED
    said = capfd.readouterr()
    assert f"goes on with: retune jobs resume {job.key[:12]}" in said.out and "is cancelled" in said.out
    assert CANARY not in said.out + said.err


def test_without_the_account_a_cancel_says_what_to_set(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    phases = {"validating": 0.0, "queued": 0.0, "running": 600.0}
    with running("openai", tmp_path / "emulator", phase_s=phases) as emulator:
        desk = Desk(desk.bench, emulator)
        job = submit(desk)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        assert retune(monkeypatch, "jobs", "cancel", job.key) == 1
        assert desk.backend().poll(job).status is JobStatus.RUNNING
    assert "OPENAI_API_KEY is not set" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["openai", "vertex"])
def test_emulate_serves_until_it_is_interrupted(kind: str, tmp_path: Path) -> None:
    port = free_ports("127.0.0.1", {"emulator": 0})["emulator"]
    program = (
        f"import sys; from retune.cli import main; sys.argv[1:] = ['emulate', '{kind}', '--port', '{port}',"
    )
    program += f" '--folder', {str(tmp_path / 'emulator')!r}]; main()"
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, env=dict(os.environ))
    try:
        deadline = time.monotonic() + WITHIN_S
        while not is_ready(port):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        child.wait(WITHIN_S)
    finally:
        end_group(child.pid, child, grace_s=1.0)
    assert (tmp_path / "emulator" / "options.json").exists()


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/_emulator/ready", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
