"""Callers of the gateway: plain users of the `openai` client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_IN_FLIGHT = 16


@dataclass(frozen=True)
class Sent:
    """What became of the requests."""

    answered: int
    failed: int
    models: dict[str, int]
    """Model that answered -> requests."""


def send(
    gateway_url: str, alias: str, system_prompt: str, prompts: Sequence[str], tell: Callable[[str], None]
) -> Sent:
    """Ask the gateway every prompt and count who answered.

    Args:
        gateway_url: Base URL without `/v1`.
        alias: What callers ask for as `model`.
        system_prompt: The task's, as callers send it.
        prompts: One request each.
        tell: Takes a progress line now and then.
    """
    return asyncio.run(_send(gateway_url, alias, system_prompt, prompts, tell))


async def _send(
    gateway_url: str, alias: str, system_prompt: str, prompts: Sequence[str], tell: Callable[[str], None]
) -> Sent:
    from openai import AsyncOpenAI, OpenAIError

    models: Counter[str] = Counter()
    failed = 0
    slots = asyncio.Semaphore(_IN_FLIGHT)
    async with AsyncOpenAI(base_url=f"{gateway_url}/v1", api_key="none", timeout=60) as client:

        async def one(prompt: str) -> None:
            nonlocal failed
            async with slots:
                try:
                    answer = await client.chat.completions.create(
                        model=alias,
                        messages=[
                            {"role": "system", "content": system_prompt},
                            {"role": "user", "content": prompt},
                        ],
                        max_tokens=12,
                        temperature=0,
                    )
                except OpenAIError:
                    failed += 1
                else:
                    models[answer.model] += 1
            done = models.total() + failed
            if done % 100 == 0:
                tell(f"{done} of {len(prompts)} requests answered")

        await asyncio.gather(*(one(prompt) for prompt in prompts))
    return Sent(models.total(), failed, dict(models))


def five_answers(gateway_url: str, alias: str, system_prompt: str, prompt: str) -> list[dict[str, str]]:
    """Return five of the gateway's answers, each with the model that gave it."""
    from openai import OpenAI

    with OpenAI(base_url=f"{gateway_url}/v1", api_key="none", timeout=60) as client:
        answers = [
            client.chat.completions.create(
                model=alias,
                messages=[
                    {"role": "system", "content": system_prompt},
                    {"role": "user", "content": prompt},
                ],
                max_tokens=12,
                temperature=0,
            )
            for _ in range(5)
        ]
    return [{"model": item.model, "answer": item.choices[0].message.content or ""} for item in answers]
