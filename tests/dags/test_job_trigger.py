"""Many triggers of one process are one poller an account, however they start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from retune.airflow.triggers.job import JobTrigger
from retune.backends.base import Installation, View
from retune.records import Job, JobStatus
from tests.tuning import make_bench

looks: list[tuple[int, list[str]]] = []
"""Which backend looked, and at which jobs."""


class RecordingBackend:
    """Sees every job run until it was asked for all."""

    name = "recording"
    poll_every_s = 0.01
    settles_within_s = 0.0
    account = "org"

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        pass

    async def poll_many(self, jobs: Sequence[Job]) -> Mapping[str, View]:
        looks.append((id(self), [job.key for job in jobs]))
        status = JobStatus.SUCCEEDED if len(jobs) == 50 else JobStatus.RUNNING
        return {job.key: View(status) for job in jobs}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "site" / "recording-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: recording\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[retune.backends]\nrecording = {__name__}:RecordingBackend\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    looks.clear()


def trigger(number: int) -> JobTrigger:
    job = Job(
        spec_digest="sha256:0",
        key=f"job-{number}",
        backend="recording",
        attempt=1,
        provider_id=f"job-{number}",
        url="https://provider.example",
        place={},
    )
    return JobTrigger(job.to_json(), time.time() + 60, cancel_when_cleared=False)


async def event_of(waiting: JobTrigger) -> object:
    return [event.payload async for event in waiting.run()]


def test_triggers_that_start_together_share_one_poller(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETUNE_PROJECT", str(make_bench(tmp_path / "project").settings.project))

    async def story() -> list[object]:
        return list(await asyncio.gather(*(event_of(trigger(number)) for number in range(50))))

    assert asyncio.run(asyncio.wait_for(story(), 60)) == [[{"error": ""}]] * 50
    assert len({backend for backend, _ in looks}) == 1


def test_an_installation_that_cannot_be_opened_is_tried_again(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_bench(tmp_path / "project").settings.project
    monkeypatch.setenv("RETUNE_PROJECT", str(project))
    monkeypatch.setenv("RETUNE_SETTLE_S", "soon")

    async def story() -> list[object]:
        failed = await event_of(trigger(0))
        monkeypatch.delenv("RETUNE_SETTLE_S")
        return [failed, *await asyncio.gather(*(event_of(trigger(number)) for number in range(50)))]

    failed, *good = asyncio.run(asyncio.wait_for(story(), 60))
    assert "soon" in str(failed)
    assert good == [[{"error": ""}]] * 50
