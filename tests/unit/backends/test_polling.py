"""Many waits for jobs of one account are one poller's few requests."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from retune.backends import polling
from retune.backends.base import Installation, JobGoneError, TransientError, View
from retune.backends.polling import AccountPoller, Pollers
from retune.errors import BackendError
from retune.records import Job, JobStatus
from tests.tuning import make_bench
from tests.unit.backends.provider import RUNNING, SUCCEEDED
from tests.unit.backends.service import TogetherBackend, job_of, service

Found = TypeVar("Found")

pytestmark = pytest.mark.usefixtures("quick", "fresh")


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


def run(story: Coroutine[Any, Any, Found]) -> Found:
    return asyncio.run(asyncio.wait_for(story, 30))


async def ends(poller: AccountPoller, *keys: str) -> list[View]:
    """Wait for jobs that end once they were seen running."""

    async def end() -> None:
        await service.asked.wait()
        service.views.update(dict.fromkeys(keys, SUCCEEDED))

    *views, _ = await asyncio.gather(*(poller.wait(job_of(key)) for key in keys), end())
    return views


@pytest.fixture(params=["together", "single"])
def poller(request: pytest.FixtureRequest, tmp_path: Path) -> AccountPoller:
    installation = make_bench(tmp_path).installation
    backend = TogetherBackend(installation, {}) if request.param == "together" else SingleBackend()
    return AccountPoller(backend)  # type: ignore[arg-type]


def test_jobs_that_end_wake_who_waits(poller: AccountPoller) -> None:
    service.views = {"a": SUCCEEDED, "b": View(JobStatus.FAILED, "bad rows")}

    async def story() -> list[View]:
        return list(
            await asyncio.gather(poller.wait(job_of("a")), poller.wait(job_of("b")), poller.wait(job_of("a")))
        )

    assert [view.status for view in run(story())] == [
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.SUCCEEDED,
    ]


def test_a_job_that_cannot_be_seen_harms_no_other(poller: AccountPoller) -> None:
    service.views = {"a": SUCCEEDED, "b": BackendError("forbidden", "mend it"), "c": JobGoneError("404")}

    async def story() -> list[object]:
        waits = (poller.wait(job_of(key)) for key in "abc")
        return list(await asyncio.gather(*waits, return_exceptions=True))

    good, forbidden, gone = run(story())
    assert good == SUCCEEDED
    assert isinstance(forbidden, BackendError) and "forbidden -> mend it" in str(forbidden)
    assert isinstance(gone, View) and gone.status is JobStatus.FAILED and "no longer knows" in gone.error


def test_an_unknown_answer_is_borne_and_then_an_error(poller: AccountPoller) -> None:
    service.views = {"a": TransientError("status 'dreaming' is unknown")}
    with pytest.raises(TransientError, match="dreaming"):
        run(poller.wait(job_of("a")))
    assert len(service.looks) == 20


class OneBroken:
    """A backend asked job by job, of which one answer cannot be read."""

    name = "single"
    poll_every_s = 0.001
    settles_within_s = 0.02
    account = "org"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def poll(self, job: Job) -> View:
        if job.key == "broken":
            raise self.error
        return SUCCEEDED


def test_one_job_with_a_defect_ends_no_other_wait() -> None:
    poller = AccountPoller(OneBroken(KeyError("status")))  # type: ignore[arg-type]

    async def story() -> list[Any]:
        waits = (poller.wait(job_of(key)) for key in ("broken", "good"))
        return list(await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 30))

    broken, good = asyncio.run(story())
    assert isinstance(broken, BackendError)
    assert good == SUCCEEDED


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
    tasks = [asyncio.create_task(poller.wait(job_of(f"job-{number}"))) for number in range(waits)]
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
        waits = (together.wait(job_of(key)) for key in "abc")
        return list(await asyncio.gather(*waits, return_exceptions=True))

    assert [str(end) for end in run(story())] == ["wrong key -> mend the connection"] * 3
    assert len(service.looks) == 1


def test_a_defect_of_a_backend_leaves_nobody_waiting(together: AccountPoller) -> None:
    service.failures = [ZeroDivisionError("oops")]  # type: ignore[list-item]
    with pytest.raises(BackendError, match="together failed: ZeroDivisionError: oops"):
        run(together.wait(job_of("a")))


def test_who_stops_waiting_is_asked_for_no_more_and_waits_anew(together: AccountPoller) -> None:
    async def story() -> View:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(together.wait(job_of("a")), 0.02)
        rested = len(service.looks)
        other = asyncio.create_task(together.wait(job_of("b")))
        while len(service.looks) < rested + 2:
            await asyncio.sleep(0.001)
        assert service.looks[-1] == ["b"]
        service.views = {"a": SUCCEEDED, "b": SUCCEEDED}
        await other
        return await together.wait(job_of("a"))

    assert run(story()) == SUCCEEDED


@pytest.fixture
def installation(third_party: None, tmp_path: Path) -> Installation:
    """An installation that knows the backend `together`."""
    return make_bench(tmp_path / "project").installation


def test_a_job_that_cannot_be_seen_makes_no_second_poller_beside_those_who_wait(
    installation: Installation,
) -> None:
    service.views = {"b": BackendError("forbidden")}

    async def story() -> None:
        pollers = Pollers(installation)
        first = asyncio.create_task(pollers.wait(job_of("a")))
        with pytest.raises(BackendError, match="forbidden"):
            await pollers.wait(job_of("b"))
        third = asyncio.create_task(pollers.wait(job_of("c")))
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
            pollers.wait(job_of("a", connection="one")),
            pollers.wait(job_of("b", connection="one")),
            pollers.wait(job_of("c", connection="two")),
        )
        assert sorted(map(len, service.looks)) == [1, 2]
        kept = dict(pollers._pollers)
        service.failures = [BackendError("wrong key")]
        with pytest.raises(BackendError, match="wrong key"):
            await pollers.wait(job_of("a", connection="one"))
        await pollers.wait(job_of("a", connection="one"))
        same = [account for account, poller in pollers._pollers.items() if kept[account] is poller]
        assert [account[1] for account in same] == ["connection=two"]

    run(story())
