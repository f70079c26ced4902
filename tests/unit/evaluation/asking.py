"""Questions for tests of the client, asked of both kinds of server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from retune.evaluation.answers import Answers
from retune.evaluation.client import ask_all
from retune.evaluation.endpoint_respondent import EndpointRespondent
from retune.evaluation.openai_respondent import OpenAIRespondent
from retune.evaluation.respondents import Answer, Respondent
from retune.settings import EndpointAddress, OpenAIAccount
from retune.text.conversations import Message

KEY = "sk-canary-6d1f0f7b2c9945e8"
Make = Callable[[str], Respondent]


def endpoint(url: str, timeout_s: float = 30.0) -> Respondent:
    return EndpointRespondent(EndpointAddress(url, KEY), "vllm", "base", max_tokens=8, timeout_s=timeout_s)


def service(url: str, timeout_s: float = 30.0) -> Respondent:
    account = OpenAIAccount(f"{url}/v1", KEY)
    return OpenAIRespondent(account, "openai", "base", max_tokens=8, timeout_s=timeout_s)


BOTH = pytest.mark.parametrize("make", [endpoint, service])


def ask(
    respondent: Respondent,
    questions: Iterable[str],
    *,
    max_in_flight: int = 8,
    answers: Answers | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Answer]:
    return asyncio.run(
        ask_all(
            [(Message(role="user", content=question),) for question in questions],
            respondent,
            max_in_flight=max_in_flight,
            report=report,
            answers=answers,
        )
    )


def numbered(count: int) -> list[str]:
    return [f"question {number}" for number in range(count)]


def without_pings(asked: Iterable[str]) -> Counter[str]:
    return Counter(question for question in asked if question != "ping")
