"""The client knows when to wait, when to ask again, and when to give up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from retune.errors import EndpointError
from retune.evaluation.answers import Answers
from retune.evaluation.respondents import Answer
from retune.text.conversations import Message
from tests.unit.evaluation.asking import BOTH, KEY, Make, ask, endpoint, numbered, service, without_pings
from tests.unit.evaluation.scripted_server import Reply, completion, refusal, scripted


@BOTH
def test_a_rate_limit_holds_every_call(make: Make) -> None:
    lock, refused, early, until = threading.Lock(), 0, 0, 0.0

    def script(question: str) -> Reply:
        nonlocal refused, early, until
        with lock:
            if not until and len(it.asked) > 20:
                until = time.monotonic() + 0.5
            if time.monotonic() >= until:
                return completion(question)
            refused += 1
            return refusal(429, "Slow down.", retry_after="0.5")

    with scripted(script) as it:
        found = ask(make(it.url), numbered(60))
    assert [answer.text for answer in found] == numbered(60)
    # Those that were under way when the limit came; nobody asked again, or for the first time, within it.
    assert 1 <= refused <= 8


@BOTH
def test_a_quota_by_the_window_is_lived_with(make: Make) -> None:
    lock, window, left = threading.Lock(), 0.0, 0

    def script(question: str) -> Reply:
        nonlocal window, left
        with lock:
            if time.monotonic() >= window:
                window, left = time.monotonic() + 0.15, 10
            left -= 1
            wait_ms = max(1, round(1000 * (window - time.monotonic())))
            return completion(question) if left >= 0 else refusal(429, "Slow.", retry_after_ms=str(wait_ms))

    with scripted(script) as it:
        found = ask(make(it.url), numbered(80), max_in_flight=32)
    # Many a question is refused more often than a broken call may be tried.
    assert [answer.error for answer in found] == [""] * 80


def test_a_limit_that_never_lifts_ends_the_evaluation() -> None:
    with (
        scripted(lambda question: refusal(429, "Slow.", retry_after_ms="1")) as it,
        pytest.raises(EndpointError, match=r"stopped answering with \d+ of 200 to go: HTTP 429"),
    ):
        ask(endpoint(it.url), numbered(200), max_in_flight=2)
    assert len(it.asked) < 40


class MostlyDown:
    """Answers the first question, late; of the others the first eight fail at once."""

    address, identity, priced_as = "nowhere", {}, ""  # type: ignore[var-annotated]

    def __init__(self) -> None:
        self.asked = 0

    async def check(self) -> None:
        """Always served."""

    async def answer(self, messages: Sequence[Message]) -> Answer:
        self.asked += 1
        if messages[0].content == "question 0":
            await asyncio.sleep(0.05)
        elif self.asked <= 9:
            return Answer("", "Down.", 0.1)
        return Answer("yes", "", 0.1)

    async def close(self) -> None:
        """Nothing is open."""


def test_after_a_late_answer_nobody_asks_all_the_rest_alone() -> None:
    respondent = MostlyDown()
    with pytest.raises(EndpointError, match=r"nowhere stopped answering with 91 of 100 to go: Down\."):
        ask(respondent, numbered(100), max_in_flight=4)
    assert respondent.asked == 9


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (refusal(401, f"Incorrect API key: {KEY}"), r"answers no more: .*401.*-> put "),
        (refusal(404, "The model `base` does not exist."), r"answers no more: .*404.*does not exist.*-> "),
        (refusal(429, "Slow.", retry_after="86400"), r"left alone for 86,400 s: .*-> run it again then"),
        (refusal(403), r"answers no more: .*403"),
    ],
)
@BOTH
def test_what_no_wait_mends_ends_it_with_one_error(
    make: Make, reply: Reply, expected: str, tmp_path: Path
) -> None:
    def script(question: str) -> Reply:
        return completion(question) if len(it.asked) <= 20 else reply

    with scripted(script) as it, pytest.raises(EndpointError, match=expected) as caught:
        ask(make(it.url), numbered(500), max_in_flight=4, answers=Answers(tmp_path / "kept.jsonl"))
    # Those under way then may have been refused too; nobody was asked a second time.
    assert len(it.asked) <= 20 + 4 + 4
    assert max(without_pings(it.asked).values()) == 1
    assert KEY not in str(caught.value) and caught.value.__context__ is None
    # What came before is kept.
    kept = (tmp_path / "kept.jsonl").read_bytes().split(b"\n")
    assert sum(bool(line) for line in kept) >= 15


def test_a_spent_quota_is_no_rate_limit() -> None:
    spent = 429, {}, b'{"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}}'
    with (
        scripted(lambda question: completion("pong") if question == "ping" else spent) as it,
        pytest.raises(EndpointError, match="insufficient_quota"),
    ):
        ask(service(it.url), numbered(9), max_in_flight=1)
    assert len(it.asked) == 2


@pytest.mark.parametrize("status", [408, 500, 503, 529])
def test_a_server_that_stumbles_is_asked_again(status: int) -> None:
    with scripted(lambda q: completion(q) if it.asked.count(q) > 1 else refusal(status)) as it:
        found = ask(endpoint(it.url), numbered(8))
    assert [answer.text for answer in found] == numbered(8)
    assert set(Counter(it.asked).values()) == {2}


def test_a_connection_that_breaks_is_made_again() -> None:
    with scripted(lambda q: completion(q) if it.asked.count(q) > 1 else None) as it:
        found = ask(endpoint(it.url), numbered(8))
    assert [answer.text for answer in found] == numbered(8)


def test_a_server_that_never_recovers_is_not_asked_for_ever() -> None:
    with scripted(lambda question: refusal(500, "Out of memory.")) as it:
        [answer] = ask(endpoint(it.url), ["?"])
    assert answer.error.startswith("HTTP 500: ") and "Out of memory." in answer.error
    assert len(it.asked) == 3
