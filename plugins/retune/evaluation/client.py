"""Asks an OpenAI-compatible endpoint many questions at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retune.errors import EndpointError
from retune.settings import EndpointAddress

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PROGRESS_S = 5.0


@dataclass(frozen=True)
class Answer:
    """One call's end: a text, or the error that took its place."""

    text: str
    error: str
    latency_s: float


async def ask_all(
    conversations: Sequence[list[dict[str, object]]],
    *,
    endpoint: EndpointAddress,
    model: str,
    max_in_flight: int,
    max_tokens: int,
    timeout_s: float,
    report: Callable[[str], None],
) -> list[Answer]:
    """Answer every conversation greedily, in order.

    Args:
        conversations: Each the messages up to the one that is asked for.
        endpoint: Where to ask.
        model: What the endpoint calls the model.
        max_in_flight: Most calls under way at once.
        max_tokens: Longest answer.
        timeout_s: Of one call; the SDK tries a call that is safe to repeat twice more.
        report: Takes a progress line every few seconds.

    Raises:
        EndpointError: The endpoint cannot be reached, does not serve the model, or stopped answering.
    """
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=f"{endpoint.url}/v1",
        api_key=endpoint.api_key or "none",
        timeout=timeout_s,
        max_retries=2,
    ) as client:
        await _check_serves(client, endpoint, model)
        slots = asyncio.Semaphore(max_in_flight)
        done = failures = 0
        told = time.monotonic()
        # So many in a row that it is no longer one call's fault.
        most = 2 * max_in_flight

        async def one(messages: Any) -> Answer:
            nonlocal done, failures, told
            async with slots:
                if failures >= most:
                    return Answer("", "not asked", 0.0)
                answer = await _ask(client, model, messages, max_tokens)
            failures = failures + 1 if answer.error else 0
            done += 1
            if time.monotonic() - told > _PROGRESS_S:
                told = time.monotonic()
                report(f"{done} of {len(conversations)} answered")
            return answer

        answers = await asyncio.gather(*(one(messages) for messages in conversations))
    unasked = sum(answer.error == "not asked" for answer in answers)
    if unasked:
        last = next(answer.error for answer in reversed(answers) if answer.error != "not asked")
        raise EndpointError(
            f"endpoint {endpoint.url} stopped answering with {unasked} of {len(answers)} to go: {last}",
            "see its log, and clear the task once it answers again",
        )
    return answers


async def _ask(client: AsyncOpenAI, model: str, messages: Any, max_tokens: int) -> Answer:
    from openai import OpenAIError

    start = time.perf_counter()
    try:
        completion = await client.chat.completions.create(
            model=model, messages=messages, max_tokens=max_tokens, temperature=0.0
        )
    except OpenAIError as error:
        return Answer("", f"{type(error).__name__}: {error}", time.perf_counter() - start)
    seconds = time.perf_counter() - start
    text = completion.choices[0].message.content if completion.choices else None
    return Answer(text or "", "" if text is not None else "no content in the answer", seconds)


async def _check_serves(client: AsyncOpenAI, endpoint: EndpointAddress, model: str) -> None:
    from openai import OpenAIError

    try:
        served = [entry.id async for entry in client.models.list()]
    except OpenAIError as error:
        raise EndpointError(
            f"endpoint {endpoint.url} does not answer: {type(error).__name__}: {error}",
            "start it (`retune serve`) or mend the connection; `retune doctor` checks it",
        ) from error
    if model not in served:
        raise EndpointError(
            f"endpoint {endpoint.url} does not serve {model!r}; it serves {sorted(served)}",
            "start it with the recipe's base_model, or let its agent load the adapter",
        )
