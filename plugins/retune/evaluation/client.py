"""Asks a model many questions at once, wherever it is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from retune.errors import EndpointError
from retune.evaluation.respondents import Answer, Respondent
from retune.text.conversations import Message

_PROGRESS_S = 5.0


async def ask_all(
    conversations: Sequence[Sequence[Message]],
    respondent: Respondent,
    *,
    max_in_flight: int,
    report: Callable[[str], None],
) -> list[Answer]:
    """Answer every conversation, in order, and close the respondent.

    Args:
        conversations: Each the messages up to the one that is asked for.
        respondent: Who answers.
        max_in_flight: Most calls under way at once.
        report: Takes a progress line every few seconds.

    Raises:
        EndpointError: The model cannot be reached, is not served, or stopped answering.
    """
    try:
        await respondent.check()
        answers = await _asked(conversations, respondent, max_in_flight, report)
    finally:
        await respondent.close()
    unasked = answers.count(None)
    if unasked:
        last = next(answer.error for answer in reversed(answers) if answer is not None)
        raise EndpointError(
            f"{respondent.address} stopped answering with {unasked} of {len(answers)} to go: {last}",
            "see its log, and clear the task once it answers again",
        )
    return [answer for answer in answers if answer is not None]


async def _asked(
    conversations: Sequence[Sequence[Message]],
    respondent: Respondent,
    max_in_flight: int,
    report: Callable[[str], None],
) -> list[Answer | None]:
    """Return the answers; None for each that was not asked for any more."""
    slots = asyncio.Semaphore(max_in_flight)
    done = failures = 0
    told = time.monotonic()
    # So many in a row that it is no longer one call's fault.
    most = 2 * max_in_flight

    async def one(messages: Sequence[Message]) -> Answer | None:
        nonlocal done, failures, told
        async with slots:
            if failures >= most:
                return None
            answer = await respondent.answer(messages)
        failures = failures + 1 if answer.error else 0
        done += 1
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            report(f"{done} of {len(conversations)} answered")
        return answer

    return await asyncio.gather(*(one(messages) for messages in conversations))
