"""Waits for many jobs at once: one poller an account, in one event loop.

Where a backend can look at many jobs by few requests it does; others are asked one by one, in threads.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from retune.backends.base import Backend, Installation, JobGoneError, PollsTogether, View, load_backend
from retune.backends.following import vanished
from retune.backends.patience import Patience
from retune.errors import BackendError
from retune.records import Job

_MOST_IN_A_ROW = 20
_AT_ONCE = 8
_YIELD_EVERY = 200
_CROWD = 1000
"""So many who wait make the garbage collector's full walks long."""
_COLLECT_EVERY_S = 3600.0

Answers = Mapping[str, View | BackendError]


@dataclass
class _Wait:
    """A job that somebody waits for."""

    job: Job
    patience: Patience
    done: list[asyncio.Future[View]] = field(default_factory=list)


class AccountPoller:
    """Looks at all jobs of one account that somebody waits for; rests while nobody does.

    Args:
        backend: Made for the account.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waits: dict[str, _Wait] = {}
        self._patience = Patience(most=_MOST_IN_A_ROW)
        self._task: asyncio.Task[None] | None = None
        self._new = 0
        """Waits since the garbage collector was last kept off."""
        self._collected_at: float | None = None

    @property
    def rests(self) -> bool:
        """Whether nobody waits."""
        return not self._waits

    async def wait(self, job: Job) -> View:
        """Return how the job ended.

        Raises:
            BackendError: It cannot be seen any more.
        """
        gone = self._backend.settles_within_s
        wait = self._waits.setdefault(job.key, _Wait(job, Patience(gone, _MOST_IN_A_ROW)))
        future: asyncio.Future[View] = asyncio.get_running_loop().create_future()
        wait.done.append(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        self._spare_the_collector()
        try:
            return await future
        finally:
            wait.done.remove(future)
            if not wait.done:
                self._waits.pop(job.key, None)

    async def _run(self) -> None:
        while self._waits:
            await asyncio.sleep(await self._look_once())

    async def _look_once(self) -> float:
        """Look at all jobs, tell those who wait, and return the seconds until the next look."""
        pause = self._backend.poll_every_s * random.uniform(0.8, 1.2)
        try:
            answers = await self._look([wait.job for wait in self._waits.values()])
            self._patience.worked()
            await self._tell(answers)
        except BackendError as error:
            try:
                pause = self._patience.failed(error, time.monotonic())
            except BackendError as final:
                self._give_up(final)
        except Exception as error:  # a backend of a third party; those who wait must not wait for ever
            self._give_up(BackendError(f"{self._backend.name} failed: {type(error).__name__}: {error}"))
        return pause

    def _spare_the_collector(self) -> None:
        """Keep the garbage collector off what a crowd waits with.

        A full collection walks over every object: with 10,000 triggers it stops all threads for half a
        second, about once a minute, and finds next to nothing (benchmarks/waiting_jobs.py). What lies in
        no cycle is freed as ever; the about seven objects in cycles that are left of each trigger are
        collected once an hour while the crowd changes.
        """
        self._new += 1
        if self._new < _CROWD or len(self._waits) < _CROWD:
            return
        self._new, now = 0, time.monotonic()
        if self._collected_at is None:
            self._collected_at = now
        elif now - self._collected_at > _COLLECT_EVERY_S:
            self._collected_at = now
            gc.unfreeze()
            gc.collect()
        gc.freeze()

    async def _look(self, jobs: list[Job]) -> Answers:
        if isinstance(self._backend, PollsTogether):
            return await self._backend.poll_many(jobs)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(job: Job) -> View | BackendError:
            async with slots:
                try:
                    return await asyncio.to_thread(self._backend.poll, job)
                except BackendError as error:
                    return error
                except Exception as error:  # of a third party's backend; the other jobs are seen all the same
                    return BackendError(f"{self._backend.name} failed: {type(error).__name__}: {error}")

        found = await asyncio.gather(*(one(job) for job in jobs))
        return {job.key: answer for job, answer in zip(jobs, found, strict=True)}

    async def _tell(self, answers: Answers) -> None:
        for number, (key, answer) in enumerate(answers.items()):
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # thousands of answers must not hold up the other triggers
            wait = self._waits.get(key)
            if wait is None:
                continue
            if isinstance(answer, View):
                wait.patience.worked()
                if answer.ended:
                    _settle(wait, answer)
                continue
            try:
                wait.patience.failed(answer, time.monotonic())
            except JobGoneError:
                _settle(wait, vanished(wait.job))
            except BackendError as final:
                _settle(wait, final)

    def _give_up(self, error: BackendError) -> None:
        for wait in self._waits.values():
            _settle(wait, error)


def _settle(wait: _Wait, end: View | BackendError) -> None:
    for future in wait.done:
        if future.done():
            continue
        if isinstance(end, View):
            future.set_result(end)
        else:
            future.set_exception(end)


class Pollers:
    """The account pollers of a process.

    Args:
        installation: What backends may use.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._pollers: dict[tuple[str, ...], AccountPoller] = {}
        self._lock = asyncio.Lock()

    async def wait(self, job: Job) -> View:
        """Return how a job ended; raises BackendError where it cannot be seen any more."""
        account = (job.backend, *(f"{name}={job.place[name]}" for name in sorted(job.place)))
        async with self._lock:
            if account not in self._pollers:
                # Credentials come by blocking calls.
                backend = await asyncio.to_thread(self._load, job)
                self._pollers[account] = AccountPoller(backend)
        poller = self._pollers[account]
        try:
            return await poller.wait(job)
        except BackendError:
            # With the credentials that it had. While others wait, a second one would ask for all again.
            if poller.rests and self._pollers.get(account) is poller:
                del self._pollers[account]
            raise

    def _load(self, job: Job) -> Backend:
        backend = load_backend(job.backend, self._installation, job.place)
        _ = backend.account  # opens the connection here, and not in the event loop
        return backend
