"""How the Vertex AI backend looks at jobs, one by one and many at once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from retune.backends.base import JobGoneError, PollsTogether, TransientError, View
from retune.backends.vertex_states import STATES
from retune.testing.emulators.process import Running
from tests.contract.vertex_house import CANARY, GET, JOBS, LIST, PROJECT, REGION, Desk, shown, submit


@pytest.mark.parametrize("word", sorted([*STATES, "JOB_STATE_ON_HOLD"]))
@pytest.mark.filterwarnings("ignore:.*is not a valid JobState")
def test_every_state_is_read_by_its_name(desk: Desk, emulator: Running, word: str) -> None:
    backend, job = submit(desk, desk.order())
    rule = {"on": GET, "do": "unknown_status", "status": word, "times": None}
    emulator.set_faults([rule])
    expected = STATES.get(word, (None, ""))[0]
    if expected is None:
        with pytest.raises(TransientError, match=word):
            backend.poll(job)
        answers = asyncio.run(backend.poll_many([job]))
        assert isinstance(answers[job.key], TransientError)
        return
    assert backend.poll(job).status is expected


def test_a_job_that_vanished_is_gone_and_not_just_silent(desk: Desk) -> None:
    backend, job = submit(desk, desk.order())
    gone = job.model_copy(update={"provider_id": f"{job.provider_id}1", "key": "gone"})
    for look in (backend.poll, backend.curves, backend.cancel, backend.fetch):
        with pytest.raises(JobGoneError):
            look(gone)
    answers = asyncio.run(backend.poll_many([gone, job]))
    assert isinstance(answers["gone"], JobGoneError)
    assert isinstance(answers[job.key], View)


def test_hundreds_of_jobs_are_looked_at_by_a_few_lists(desk: Desk, emulator: Running) -> None:
    backend, first = submit(desk, desk.order())
    body = {name: shown(desk, first)[name] for name in ("baseModel", "supervisedTuningSpec")}
    url = f"{emulator.url}{JOBS.format(project=PROJECT, location=REGION)}"
    jobs = []
    with httpx.Client(headers={"Authorization": f"Bearer {CANARY}"}, trust_env=False, timeout=60) as client:
        for number in range(220):
            labels = {"retune_key": f"{number:060x}"}
            made = client.post(url, json={**body, "labels": labels}).raise_for_status().json()
            update = {"provider_id": made["name"], "key": f"{number:064x}"}
            jobs.append(first.model_copy(update=update))
    assert isinstance(backend, PollsTogether)
    before = emulator.counts()
    answers = asyncio.run(backend.poll_many(jobs))
    after = emulator.counts()
    assert answers.keys() == {job.key for job in jobs}
    assert all(isinstance(answer, View) for answer in answers.values())
    assert after[LIST] - before.get(LIST, 0) == 3
    assert after.get(GET, 0) == before.get(GET, 0)


def test_jobs_that_the_list_does_not_show_yet_are_read_one_by_one(desk: Desk, emulator: Running) -> None:
    emulator.set_options(list_lag_s=600.0)
    try:
        backend = desk.backend()
        jobs = [backend.submit(desk.order(), lambda: None) for _ in range(3)]
        before = emulator.counts()
        answers = asyncio.run(backend.poll_many(jobs))
        assert {type(answer) for answer in answers.values()} == {View}
        assert emulator.counts()[GET] - before.get(GET, 0) == 3
    finally:
        emulator.set_options(list_lag_s=0.0)
