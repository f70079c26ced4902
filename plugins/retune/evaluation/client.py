"""Asks a model many questions at once, wherever it is served."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from retune.errors import EndpointError
from retune.evaluation.answers import Answers, key_of
from retune.evaluation.respondents import Answer, Respondent
from retune.text.conversations import Message

_COLLECT_AFTER = 10_000
_OTHER_FILES = 256
_PROGRESS_S = 5.0
_FLUSH_S = 0.2
"""Answers of so many seconds a kill may lose."""


async def ask_all(
    conversations: Sequence[Sequence[Message]],
    respondent: Respondent,
    *,
    max_in_flight: int,
    report: Callable[[str], None],
    answers: Answers | None = None,
) -> list[Answer]:
    """Answer every conversation, in order, and close the respondent.

    The same conversation is asked once, and one whose answer is kept is not asked at all: where all are
    kept, nobody need be there.

    Args:
        conversations: Each the messages up to the one that is asked for.
        respondent: Who answers.
        max_in_flight: Most calls under way at once.
        report: Takes a progress line every few seconds.
        answers: Those that are kept; new ones join them. None: none are kept.

    Raises:
        EndpointError: The model cannot be reached, is not served, or stopped answering.
        SetupError: Answers cannot be kept.
    """
    keys = [key_of(messages) for messages in conversations]
    found: dict[str, Answer] = {}
    todo: dict[str, Sequence[Message]] = {}
    for key, messages in zip(keys, conversations, strict=True):
        kept = answers.get(key) if answers is not None else None
        if kept is not None:
            found[key] = kept
        else:
            todo[key] = messages
    if found:
        report(f"{len(found):,} of {len(found) + len(todo):,} were answered before")
    if todo:
        _allow_files(max_in_flight)
        try:
            await respondent.check()
            with _rare_collections():
                found |= await _Bulk(todo, respondent, max_in_flight, report, answers).asked()
        finally:
            await respondent.close()
    return [found[key] for key in keys]


def _allow_files(connections: int) -> None:
    """Let this process open a file a connection, as far as the system lets it: 1,024 are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the garbage collector look less often.

    A call under way holds dozens of objects, none of them garbage. Looked through each time that 700 are
    new, those of 1,000 calls took a tenth of the time, in pauses of up to 0.15 s.
    """
    usual = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


async def together(work: Callable[[], Coroutine[Any, Any, None]], copies: int) -> None:
    """Run copies of some work at once; the first error ends them all and is raised.

    Args:
        work: Takes what there is to do from where the others take it.
        copies: How many run.
    """
    tasks = [asyncio.create_task(work()) for _ in range(copies)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Bulk:
    """Questions that are asked together.

    Args:
        todo: Key -> what is asked.
        respondent: Who answers.
        max_in_flight: Most calls under way at once.
        report: Takes progress lines.
        answers: Takes the answers.
    """

    def __init__(
        self,
        todo: Mapping[str, Sequence[Message]],
        respondent: Respondent,
        max_in_flight: int,
        report: Callable[[str], None],
        answers: Answers | None,
    ) -> None:
        self._todo = todo
        self._left = iter(todo.items())
        self._respondent = respondent
        self._max_in_flight = max_in_flight
        self._report = report
        self._answers = answers
        self._found: dict[str, Answer] = {}
        self._failed = self._failed_in_a_row = 0
        self._given_up = False
        self._began = time.monotonic()

    async def asked(self) -> dict[str, Answer]:
        """Ask, and return key -> answer."""
        tending = asyncio.create_task(self._tend())
        asking = asyncio.create_task(together(self._work, min(self._max_in_flight, len(self._todo))))
        try:
            await asyncio.wait((tending, asking), return_when=asyncio.FIRST_COMPLETED)
            for task in (tending, asking):
                if task.done():
                    task.result()
        finally:
            for task in (tending, asking):
                task.cancel()
            await asyncio.gather(tending, asking, return_exceptions=True)
            self._flush()
        unasked = len(self._todo) - len(self._found)
        if unasked:
            last = next(answer.error for answer in reversed(self._found.values()) if answer.error)
            raise EndpointError(
                f"{self._respondent.address} stopped answering with {unasked} of {len(self._todo)} to go:"
                f" {last}",
                "see its log, and clear the task once it answers again; the answers that came are kept",
            )
        return self._found

    async def _work(self) -> None:
        # So many in a row that it is no longer one call's fault.
        most = 2 * self._max_in_flight
        while not self._given_up:
            key, messages = next(self._left, (None, ()))
            if key is None:
                return
            answer = self._found[key] = await self._respondent.answer(messages)
            if answer.error:
                self._failed += 1
                self._failed_in_a_row += 1
                # For good: after a late answer the few that still ask would go on in place of all.
                self._given_up |= self._failed_in_a_row >= most
            else:
                self._failed_in_a_row = 0
                if self._answers is not None:
                    self._answers.add(key, answer)

    async def _tend(self) -> None:
        """Write answers and tell of progress, as long as questions are asked."""
        told = self._began
        while True:
            await asyncio.sleep(_FLUSH_S)
            self._flush()
            if time.monotonic() - told > _PROGRESS_S:
                told = time.monotonic()
                self._report(progress(len(self._found), len(self._todo), self._failed, told - self._began))

    def _flush(self) -> None:
        if self._answers is not None:
            self._answers.flush()


def progress(done: int, total: int, failed: int, elapsed_s: float) -> str:
    """Return a progress line: done of total, per second, failed, time left.

    Args:
        done: Calls that ended.
        total: Calls in all.
        failed: Of those that ended.
        elapsed_s: Since the first began.
    """
    rate = done / elapsed_s
    left_s = (total - done) / rate if rate else None
    left = "time left unknown" if left_s is None else f"{left_s // 60:.0f}:{left_s % 60:02.0f} left"
    return f"{done:,} of {total:,} answered, {rate:.1f}/s, {failed} failed, {left}"
