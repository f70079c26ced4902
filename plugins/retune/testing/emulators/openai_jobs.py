"""OpenAI's `/v1/fine_tuning/jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from starlette.requests import Request

from retune.testing.emulators.lifecycle import Phase
from retune.testing.emulators.openai_creation import Creation
from retune.testing.emulators.openai_errors import invalid, no_job
from retune.testing.emulators.openai_requests import json_body, limit_of
from retune.testing.emulators.openai_work import Job, Work, shown
from retune.testing.emulators.server import Call, Route
from retune.testing.emulators.store import Entry, Store


class Jobs:
    """The routes of fine-tuning jobs.

    Args:
        store: Where they lie.
        creation: Makes them.
        work: Moves them on.
    """

    def __init__(self, store: Store, creation: Creation, work: Work) -> None:
        self._store = store
        self._creation = creation
        self._work = work

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = "/v1/fine_tuning/jobs/{fine_tuning_job_id}"
        return [
            Route("POST", "/v1/fine_tuning/jobs", self._create),
            Route("GET", "/v1/fine_tuning/jobs", self._list),
            Route("GET", one, self._retrieve),
            Route("POST", f"{one}/cancel", self._cancel),
            Route("POST", f"{one}/pause", self._pause),
            Route("POST", f"{one}/resume", self._resume),
            Route("GET", f"{one}/events", self._events),
            Route("GET", f"{one}/checkpoints", self._checkpoints),
        ]

    async def _create(self, call: Call) -> dict[str, Any]:
        job = self._creation.make(await json_body(call.request), call)
        self._add(job, call)
        return self._answer(job, call)

    def _add(self, job: Job, call: Call) -> None:
        """Store a job; all of it is on the disk when this returns."""
        with self._store.transaction():
            self._store.add(
                "job",
                job.id,
                {**asdict(job), "life": job.life.as_json()},
                at=call.exists_at,
                visible_at=call.visible_at,
                labels=job.fields["metadata"],
                job=True,
            )
            self._work.say(job, call.exists_at, f"Created fine-tuning job: {job.id}")
            sides = f"Validating training file: {job.fields['training_file']}"
            if job.fields["validation_file"]:
                sides += f" and validation file: {job.fields['validation_file']}"
            self._work.say(job, call.exists_at + 1e-3, sides)

    async def _list(self, call: Call) -> dict[str, Any]:
        given = call.request.query_params
        labels = _metadata_filter(call.request)
        page = self._store.page(
            "job",
            call.now,
            limit=limit_of(call.request, 20),
            after=self._entry(given["after"], call) if "after" in given else None,
            labels=labels,
            unlabelled=given.get("metadata") == "null",
        )
        with self._store.transaction():
            jobs = [self._work.look(entry, call.now, call.options) for entry in page.entries]
        return {
            "object": "list",
            "data": [self._answer(job, call) for job in jobs],
            "has_more": page.has_more,
        }

    async def _retrieve(self, call: Call) -> dict[str, Any]:
        return self._answer(self._job(call), call)

    async def _cancel(self, call: Call) -> dict[str, Any]:
        job = self._job(call)
        if job.life.phase.ended:
            raise invalid(f"Job has already completed: {job.id}")
        job.life.cancel(call.now)
        self._work.record(job, [Phase.CANCELLED], call.now, call.options)
        return self._answer(job, call)

    async def _pause(self, call: Call) -> dict[str, Any]:
        job = self._job(call)
        if job.life.phase != Phase.RUNNING or job.life.paused_at is not None:
            raise invalid(f"Job is not running and cannot be paused: {job.id}")
        job.life.pause(call.now)
        return self._change(job, call, "Fine-tuning job paused")

    async def _resume(self, call: Call) -> dict[str, Any]:
        job = self._job(call)
        if job.life.paused_at is None:
            raise invalid(f"Job is not paused and cannot be resumed: {job.id}")
        job.life.resume(call.now)
        return self._change(job, call, "Fine-tuning job resumed")

    def _change(self, job: Job, call: Call, message: str) -> dict[str, Any]:
        with self._store.transaction():
            self._work.say(job, call.now, message)
            self._work.save(job)
        return self._answer(job, call)

    async def _events(self, call: Call) -> dict[str, Any]:
        job = self._job(call)
        self._work.tell_steps(job, call.now, call.options)
        events = [event.body for event in reversed(self._store.events(job.id))]
        page, has_more = _cut(events, call, 20)
        return {"object": "list", "data": page, "has_more": has_more}

    async def _checkpoints(self, call: Call) -> dict[str, Any]:
        page, has_more = _cut(self._work.checkpoints(self._job(call), call.now, call.options), call, 10)
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": has_more,
        }

    def _job(self, call: Call) -> Job:
        entry = self._entry(call.path("fine_tuning_job_id"), call)
        return self._work.look(entry, call.now, call.options)

    def _entry(self, name: str, call: Call) -> Entry:
        found = self._store.get("job", name, call.now)
        if found is None:
            raise no_job(name)
        return found

    def _answer(self, job: Job, call: Call) -> dict[str, Any]:
        answer = shown(job, call.options)
        if rule := call.does("unknown_status"):
            answer["status"] = str(rule.status or "on_hold")
        return answer


def _metadata_filter(request: Request) -> dict[str, str]:
    """Return the pairs of `metadata[key]=value`."""
    return {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }


def _cut(rows: Sequence[dict[str, Any]], call: Call, default: int) -> tuple[Sequence[dict[str, Any]], bool]:
    """Return the page that is asked for, and whether more follow."""
    limit, after = limit_of(call.request, default), call.request.query_params.get("after")
    start = 0
    if after is not None:
        places = [place for place, row in enumerate(rows) if row["id"] == after]
        if not places:
            raise invalid(f"Invalid 'after': there is no {after}.", "after")
        start = places[0] + 1
    return rows[start : start + limit], len(rows) > start + limit
