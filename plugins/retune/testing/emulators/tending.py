"""The trainings of an emulator, tended while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Generic

from retune.testing.emulators.lifecycle import Phase
from retune.testing.emulators.training import J, Trainings

_EVERY_S = 0.2


class Tending(Generic[J]):
    """Tends the trainings of an emulator while it runs.

    Args:
        trainings: Those to tend.
        jobs: Returns every job, moved on until now, oldest first.
        record: Stores a job whose life changed, with the phases that it came into.
        complain: Takes a sentence where they are no longer tended.
    """

    def __init__(
        self,
        trainings: Trainings[J],
        jobs: Callable[[], Iterable[J]],
        record: Callable[[J, list[Phase]], None],
        complain: Callable[[str], None],
    ) -> None:
        self._trainings = trainings
        self._jobs = jobs
        self._record = record
        self._complain = complain
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, also with the trainings that an earlier process began."""
        self._task = asyncio.create_task(self._tend())
        self._task.add_done_callback(self._note)

    def stop(self) -> None:
        """Pause the trainings."""
        if self._task is not None:
            self._task.cancel()
            self._trainings.stop()

    async def _tend(self) -> None:
        while True:
            for job, came in self._trainings.tend(self._jobs(), time.time()):
                self._record(job, came)
            await asyncio.sleep(_EVERY_S)

    def _note(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._complain(f"trainings are no longer tended: {error!r}")
