"""Many waits for jobs of one account are one poller's few requests."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from retune.backends import patience, polling
from retune.backends.base import Installation, JobGoneError, TransientError, View
from retune.backends.polling import AccountPoller, Pollers
from retune.errors import BackendError
from retune.records import Job, JobStatus
from tests.tuning import make_bench

Found = TypeVar("Found")
RUNNING, SUCCEEDED = View(JobStatus.RUNNING), View(JobStatus.SUCCEEDED, seconds=3.0)


@dataclass
class Service:
    """What a provider shows."""

    views: dict[str, View | BackendError] = field(default_factory=dict)
    """Key -> what is seen of the job; RUNNING where nothing is said."""
    failures: list[BackendError] = field(default_factory=list)
    """What the first looks bring."""
    looks: list[list[str]] = field(default_factory=list)
    """The keys of each look."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)


service = Service()


class TogetherBackend:
    """Looks at all jobs by one request."""

    name = "together"
    poll_every_s = 0.001
    settles_within_s = 0.02
    account = "org"

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        pass

    async def poll_many(self, jobs: Sequence[Job]) -> Mapping[str, View | BackendError]:
        service.looks.append([job.key for job in jobs])
        service.asked.set()
        if service.failures:
            raise service.failures.pop(0)
        return {job.key: service.views.get(job.key, RUNNING) for job in jobs}


class SingleBackend:
    """Looks at one job at a time, and blocks."""

    name = "single"
    poll_every_s = 0.001
    settles_within_s = 0.02
    account = "org"

    def poll(self, job: Job) -> View:
        service.looks.append([job.key])
        seen = service.views.get(job.key, RUNNING)
        if isinstance(seen, BackendError):
            raise seen
        return seen


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "service", Service())
    monkeypatch.setattr(patience, "_FIRST_S", 0.001)


def job(key: str, **place: str) -> Job:
    return Job(
        spec_digest="sha256:0",
        key=key,
        backend="together",
        attempt=1,
        provider_id=key,
        url="https://provider.example",
        place=place,
    )


def run(story: Coroutine[Any, Any, Found]) -> Found:
    return asyncio.run(asyncio.wait_for(story, 30))


async def ends(poller: AccountPoller, *keys: str) -> list[View]:
    """Wait for jobs that end once they were seen running."""

    async def end() -> None:
        await service.asked.wait()
        service.views.update(dict.fromkeys(keys, SUCCEEDED))

    *views, _ = await asyncio.gather(*(poller.wait(job(key)) for key in keys), end())
    return views


@pytest.fixture(params=["together", "single"])
def poller(request: pytest.FixtureRequest, tmp_path: Path) -> AccountPoller:
    installation = make_bench(tmp_path).installation
    backend = TogetherBackend(installation, {}) if request.param == "together" else SingleBackend()
    return AccountPoller(backend)  # type: ignore[arg-type]


def test_jobs_that_end_wake_who_waits(poller: AccountPoller) -> None:
    service.views = {"a": SUCCEEDED, "b": View(JobStatus.FAILED, "bad rows")}

    async def story() -> list[View]:
        return list(await asyncio.gather(poller.wait(job("a")), poller.wait(job("b")), poller.wait(job("a"))))

    assert [view.status for view in run(story())] == [
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.SUCCEEDED,
    ]


def test_a_job_that_cannot_be_seen_harms_no_other(poller: AccountPoller) -> None:
    service.views = {"a": SUCCEEDED, "b": BackendError("forbidden", "mend it"), "c": JobGoneError("404")}

    async def story() -> list[object]:
        waits = (poller.wait(job(key)) for key in "abc")
        return list(await asyncio.gather(*waits, return_exceptions=True))

    good, forbidden, gone = run(story())
    assert good == SUCCEEDED
    assert isinstance(forbidden, BackendError) and "forbidden -> mend it" in str(forbidden)
    assert isinstance(gone, View) and gone.status is JobStatus.FAILED and "no longer knows" in gone.error


def test_an_unknown_answer_is_borne_and_then_an_error(poller: AccountPoller) -> None:
    service.views = {"a": TransientError("status 'dreaming' is unknown")}
    with pytest.raises(TransientError, match="dreaming"):
        run(poller.wait(job("a")))
    assert len(service.looks) == 20


@pytest.fixture
def together(tmp_path: Path) -> AccountPoller:
    return AccountPoller(TogetherBackend(make_bench(tmp_path).installation, {}))  # type: ignore[arg-type]


def test_all_jobs_of_an_account_are_one_request(together: AccountPoller) -> None:
    keys = [f"job-{number}" for number in range(1000)]
    views = run(ends(together, *keys))
    assert views == [SUCCEEDED] * 1000
    assert sorted(service.looks[0]) == sorted(keys)
    assert len(service.looks) <= 3


@pytest.fixture
def unfrozen() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


async def waited_for_by(waits: int, poller: AccountPoller) -> None:
    """Let so many wait, then end their jobs."""
    service.views = {}
    tasks = [asyncio.create_task(poller.wait(job(f"job-{number}"))) for number in range(waits)]
    await asyncio.sleep(0)
    service.views = {f"job-{number}": SUCCEEDED for number in range(waits)}
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("waits", "spared"), [(999, False), (1000, True)])
def test_a_crowd_is_spared_by_garbage_collection(
    unfrozen: None, together: AccountPoller, waits: int, spared: bool
) -> None:
    run(waited_for_by(waits, together))
    assert (gc.get_freeze_count() > 0) is spared


class Loop:
    """An object in a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_of_a_crowd_is_collected_once_an_hour(
    unfrozen: None, together: AccountPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = Loop()
    garbage = weakref.ref(left)
    run(waited_for_by(1000, together))
    del left
    gc.collect()
    assert garbage() is not None
    monkeypatch.setattr(polling, "_COLLECT_EVERY_S", 0.0)
    run(waited_for_by(1000, together))
    assert garbage() is None


def test_an_outage_of_the_account_is_borne(together: AccountPoller) -> None:
    service.failures = [TransientError("503"), TransientError("429", retry_after_s=0.01)]
    assert run(ends(together, "a")) == [SUCCEEDED]


def test_a_wrong_key_ends_all_waits_at_once(together: AccountPoller) -> None:
    service.failures = [BackendError("wrong key", "mend the connection")]

    async def story() -> list[object]:
        waits = (together.wait(job(key)) for key in "abc")
        return list(await asyncio.gather(*waits, return_exceptions=True))

    assert [str(end) for end in run(story())] == ["wrong key -> mend the connection"] * 3
    assert len(service.looks) == 1


def test_a_defect_of_a_backend_leaves_nobody_waiting(together: AccountPoller) -> None:
    service.failures = [ZeroDivisionError("oops")]  # type: ignore[list-item]
    with pytest.raises(BackendError, match="together failed: ZeroDivisionError: oops"):
        run(together.wait(job("a")))


def test_who_stops_waiting_is_asked_for_no_more_and_waits_anew(together: AccountPoller) -> None:
    async def story() -> View:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(together.wait(job("a")), 0.02)
        rested = len(service.looks)
        other = asyncio.create_task(together.wait(job("b")))
        while len(service.looks) < rested + 2:
            await asyncio.sleep(0.001)
        assert service.looks[-1] == ["b"]
        service.views = {"a": SUCCEEDED, "b": SUCCEEDED}
        await other
        return await together.wait(job("a"))

    assert run(story()) == SUCCEEDED


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation that knows the backend `together`."""
    metadata = tmp_path / "site" / "together-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: together\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[retune.backends]\ntogether = {__name__}:TogetherBackend\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return make_bench(tmp_path / "project").installation


def test_a_job_that_cannot_be_seen_makes_no_second_poller_beside_those_who_wait(
    installation: Installation,
) -> None:
    service.views = {"b": BackendError("forbidden")}

    async def story() -> None:
        pollers = Pollers(installation)
        first = asyncio.create_task(pollers.wait(job("a")))
        with pytest.raises(BackendError, match="forbidden"):
            await pollers.wait(job("b"))
        third = asyncio.create_task(pollers.wait(job("c")))
        while sorted(service.looks[-1]) != ["a", "c"]:
            await asyncio.sleep(0.001)
        service.views = {"a": SUCCEEDED, "c": SUCCEEDED}
        await asyncio.gather(first, third)

    run(story())


def test_each_account_has_a_poller_of_its_own_and_a_new_one_after_an_error(
    installation: Installation,
) -> None:
    service.views = {"a": SUCCEEDED, "b": SUCCEEDED, "c": SUCCEEDED}

    async def story() -> None:
        pollers = Pollers(installation)
        await asyncio.gather(
            pollers.wait(job("a", connection="one")),
            pollers.wait(job("b", connection="one")),
            pollers.wait(job("c", connection="two")),
        )
        assert sorted(map(len, service.looks)) == [1, 2]
        kept = dict(pollers._pollers)
        service.failures = [BackendError("wrong key")]
        with pytest.raises(BackendError, match="wrong key"):
            await pollers.wait(job("a", connection="one"))
        await pollers.wait(job("a", connection="one"))
        same = [account for account, poller in pollers._pollers.items() if kept[account] is poller]
        assert [account[1] for account in same] == ["connection=two"]

    run(story())
