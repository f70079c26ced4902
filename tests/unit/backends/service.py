"""A provider all of whose jobs are seen by one request, and its backend."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retune.backends.base import Installation, View
from retune.errors import BackendError
from retune.records import Job
from tests.unit.backends.provider import RUNNING


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

    def reset(self) -> None:
        """Forget everything."""
        vars(self).update(vars(Service()))


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


def job_of(key: str, **place: str) -> Job:
    return Job(
        spec_digest="sha256:0",
        key=key,
        backend="together",
        attempt=1,
        provider_id=key,
        url="https://provider.example",
        place=place,
    )
