"""Waits for a fine-tuning job, whoever trains it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from retune.backends.base import Installation
    from retune.backends.polling import Pollers

_opened: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Pollers]] = WeakKeyDictionary()
"""Event loop -> the pollers that all triggers of this process share."""


class JobTrigger(BaseTrigger):
    """Fires once: when the job has ended, cannot be seen any more, or `until` has come.

    It survives a restart of the triggerer, which never cancels a job; only a person who clears or
    marks the waiting task does, where the pipeline's spec says so.

    Args:
        job: The Job's JSON; free of secrets.
        until: When to wake the task at the latest, in seconds since 1970.
        cancel_when_cleared: Whether the job is cancelled where somebody ends the waiting task.
        carried: What the task needs to go on: it comes back in the event, as `dag.test()` drops the
            arguments of a deferral.
    """

    def __init__(
        self,
        job: dict[str, Any],
        until: float,
        cancel_when_cleared: bool,
        carried: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job = job
        self.until = until
        self.cancel_when_cleared = cancel_when_cleared
        self.carried = carried or {}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how the triggerer makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "job": self.job,
                "until": self.until,
                "cancel_when_cleared": self.cancel_when_cleared,
                "carried": self.carried,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, what is carried and `error`: empty where the task shall look at the job.

        With `"may_pass": True` where another try may see it.
        """
        from retune.backends.base import JobLostError
        from retune.errors import RetuneError
        from retune.records import Job

        job = Job.from_json(self.job)
        error, may_pass = "", False
        try:
            pollers = await _shared()
            # In this task: `wait_for` would make another one for each of thousands of triggers.
            async with asyncio.timeout(max(self.until - time.time(), 0.0)):
                await pollers.wait(job)
        except (TimeoutError, JobLostError):
            pass  # the task looks at the job, and starts its trainer again
        except RetuneError as failure:
            error, may_pass = str(failure), getattr(failure, "may_pass", False)
        told = self.carried | {"error": error} | ({"may_pass": True} if may_pass else {})
        yield TriggerEvent(told)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the job of a task that somebody cleared or marked."""
        if self.cancel_when_cleared:
            cancelled = await asyncio.to_thread(_cancel, self.job["key"])
            self.log.info(
                "the task was ended from outside: job %s", "cancelled" if cancelled else "had ended"
            )


async def _shared() -> Pollers:
    loop = asyncio.get_running_loop()
    opening = _opened.get(loop)
    if opening is None or (opening.done() and opening.exception()):
        opening = _opened[loop] = loop.create_task(_open())
    # Others wait for it too: it must not end with one of them.
    return await asyncio.shield(opening)


async def _open() -> Pollers:
    from retune.backends.polling import Pollers

    return Pollers(await asyncio.to_thread(_installation))


def _installation() -> Installation:
    from retune.airflow import configuration

    return configuration.installation()


def _cancel(key: str) -> bool:
    from retune.airflow import configuration
    from retune.backends.jobs import CLEARED, Site
    from retune.backends.stopping import cancel_stored

    site = Site(configuration.installation(), configuration.database(), lambda _: None)
    return cancel_stored(key, site, CLEARED)
