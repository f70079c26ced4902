"""How the OpenAI backend looks at jobs, one by one and many at once."""

from __future__ import annotations

import asyncio

import pytest

from retune.backends.base import JobGoneError, TransientError, View
from retune.records import JobStatus
from tests.contract.house import ended
from tests.contract.openai_house import JOBS, MODEL, ONE, Desk, no_key_in, submitted


def test_a_vanished_job_is_gone(desk: Desk) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order())
    desk.emulator.store.remove("job", job.provider_id)
    for ask in (backend.poll, backend.curves, backend.cancel, backend.fetch, backend.checkpoints):
        with pytest.raises(JobGoneError, match=job.provider_id):
            ask(job)


@pytest.mark.parametrize("strict", [True, False])
def test_an_unknown_status_is_a_failed_poll(desk: Desk, strict: bool) -> None:
    backend = desk.backend(strict=strict)
    job = submitted(backend, desk.order())
    desk.emulator.set_faults([{"on": ONE, "do": "unknown_status", "status": "on_hold"}])
    with pytest.raises(TransientError):
        backend.poll(job)
    assert ended(backend, job).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_poll_that_is_put_off_says_for_how_long(desk: Desk, status: int) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order())
    desk.emulator.set_faults([{"on": ONE, "do": "refuse", "status": status, "retry_after": 11}])
    with pytest.raises(TransientError) as caught:
        backend.poll(job)
    assert caught.value.retry_after_s == 11.0


def test_many_jobs_are_polled_by_one_list(desk: Desk) -> None:
    desk.emulator.set_options(phase_s=600)
    backend = desk.backend()
    mine = submitted(backend, desk.order())
    training = backend._jobs.retrieve(mine.provider_id).training_file
    ids = [backend._jobs.create(model=MODEL, training_file=training).id for _ in range(500)]
    jobs = [mine.model_copy(update={"key": f"key {name}", "provider_id": name}) for name in ids]
    before = desk.emulator.counts()
    views = asyncio.run(backend.poll_many(jobs))
    after = desk.emulator.counts()
    assert views == {job.key: View(JobStatus.PENDING) for job in jobs}
    assert after[JOBS] - before.get(JOBS, 0) == 5
    assert after.get(ONE, 0) == before.get(ONE, 0)


def test_jobs_that_the_list_does_not_show_are_asked_for_one_by_one(desk: Desk) -> None:
    desk.emulator.set_options(list_lag_s=600, phase_s=600)
    backend = desk.backend(strict=False)
    jobs = [submitted(backend, desk.order()) for _ in range(4)]
    desk.emulator.store.remove("job", jobs[0].provider_id)
    place = f"GET /v1/fine_tuning/jobs/{jobs[1].provider_id}"
    busy = {"on": place, "do": "refuse", "status": 429, "retry_after": 9}
    odd = {"on": f"GET /v1/fine_tuning/jobs/{jobs[2].provider_id}", "do": "unknown_status"}
    desk.emulator.set_faults([busy, odd])
    views = asyncio.run(backend.poll_many(jobs))
    assert isinstance(views[jobs[0].key], JobGoneError)
    late = views[jobs[1].key]
    assert isinstance(late, TransientError) and late.retry_after_s == 9.0
    unknown = views[jobs[2].key]
    assert isinstance(unknown, TransientError) and "on_hold" in str(unknown)
    assert views[jobs[3].key] == View(JobStatus.PENDING)


def test_a_list_that_is_put_off_says_for_how_long(desk: Desk) -> None:
    backend = desk.backend()
    job = submitted(backend, desk.order())
    desk.emulator.set_faults([{"on": JOBS, "do": "refuse", "refusal": "rate_limit", "retry_after": 13}])

    async def twice() -> None:
        with pytest.raises(TransientError) as caught:
            await backend.poll_many([job])
        assert caught.value.retry_after_s == 13.0
        no_key_in(caught.value)
        client = await backend._account.client_of_loop()
        assert isinstance((await backend.poll_many([job]))[job.key], View)
        assert await backend._account.client_of_loop() is client

    asyncio.run(twice())
