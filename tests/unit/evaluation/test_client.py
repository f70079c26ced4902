"""The client asks each question once, bounds what is under way, and knows when to wait, retry and give up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from retune.errors import EndpointError
from retune.evaluation.answers import Answers
from retune.evaluation.client import ask_all, progress
from retune.evaluation.endpoint_respondent import EndpointRespondent
from retune.evaluation.openai_respondent import OpenAIRespondent
from retune.evaluation.respondents import Answer, Respondent
from retune.settings import EndpointAddress, OpenAIAccount
from retune.text.conversations import Message
from tests.unit.evaluation.scripted_server import Reply, completion, refusal, scripted

ROOT = Path(__file__).resolve().parents[3]
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


@BOTH
def test_answers_come_in_the_order_of_the_questions(make: Make) -> None:
    with scripted(lambda question: completion(f"re {question}", prompt_tokens=7, completion_tokens=2)) as it:
        found = ask(make(it.url), numbered(50))
    assert [answer.text for answer in found] == [f"re {question}" for question in numbered(50)]
    assert {(answer.prompt_tokens, answer.completion_tokens, answer.cut) for answer in found} == {
        (7, 2, False)
    }
    assert all(answer.latency_s > 0 for answer in found)


def test_as_many_are_under_way_as_may_be_and_never_more() -> None:
    inside = most = 0
    lock, full = threading.Lock(), threading.Barrier(6, timeout=30)

    def script(question: str) -> Reply:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        full.wait()  # breaks unless six are here at once
        with lock:
            inside -= 1
        return completion("yes")

    with scripted(script) as it:
        ask(endpoint(it.url), numbered(60), max_in_flight=6)
    assert most == 6


def test_a_low_limit_of_open_files_is_raised() -> None:
    full = threading.Barrier(64, timeout=60)

    def script(question: str) -> Reply:
        full.wait()
        return completion("yes")

    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from tests.unit.evaluation.test_client import ask, endpoint, numbered
found = ask(endpoint(sys.argv[1]), numbered(64), max_in_flight=64)
sys.exit("".join({answer.error for answer in found}) or 0)
"""
    with scripted(script) as it:
        child = subprocess.run([sys.executable, "-c", code, it.url], cwd=ROOT, capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, "")


def test_the_same_question_is_asked_once() -> None:
    with scripted(lambda question: completion(question)) as it:
        found = ask(endpoint(it.url), ["a", "b", "a", "a"])
    assert [answer.text for answer in found] == ["a", "b", "a", "a"]
    assert Counter(it.asked) == {"a": 1, "b": 1}


def test_kept_answers_are_not_asked_for_again_and_failed_ones_are(tmp_path: Path) -> None:
    well = False

    def script(question: str) -> Reply:
        return completion(question) if well or int(question.split()[1]) % 2 else refusal(400, "No such luck.")

    lines: list[str] = []
    with scripted(script) as it:
        path = tmp_path / "answers.jsonl"
        first = ask(endpoint(it.url), numbered(10), answers=Answers(path))
        well, asked = True, len(it.asked)
        second = ask(endpoint(it.url), numbered(10), answers=Answers(path), report=lines.append)
    assert [bool(answer.error) for answer in first] == [True, False] * 5
    assert [answer.text for answer in second] == numbered(10)
    assert Counter(it.asked[asked:]) == Counter(numbered(10)[::2])
    assert lines == ["5 of 10 were answered before"]


def test_what_is_kept_whole_needs_no_server(tmp_path: Path) -> None:
    with scripted(lambda question: completion(question)) as it:
        ask(endpoint(it.url), numbered(3), answers=Answers(tmp_path / "kept.jsonl"))
    found = ask(endpoint(it.url), numbered(3), answers=Answers(tmp_path / "kept.jsonl"))
    assert [answer.text for answer in found] == numbered(3)


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


def test_what_is_asked_says_that_it_is_no_traffic() -> None:
    with scripted(completion) as it:
        ask(endpoint(it.url), ["?"])
    assert it.headers and all(headers["x-retune-probe"] == "1" for headers in it.headers)


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


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no completion"),
        (b"<html><body>Sign in</body></html>", "<html><body>Sign in"),
        (b'{"error": {"message": "model overloaded"}}', "model overloaded"),
        (b'{"choices": []}', "no completion"),
        (b'{"choices": null}', "no completion"),
        (b'{"choices": [{"message": {"content": 7}}]}', "no completion"),
        (b'{"choices": [{"message": {"content": null}}]}', "no content"),
        (b'["choices"]', "no completion"),
        (b'{"choices": [{"message": {"content": "ship"}, "finish_reason": "abort"}]}', "broke the answer"),
        (b"[" * 100_000, "no completion"),
        (b"\xff\xfe\x00", "no completion"),
    ],
    ids=lambda value: str(value)[:20],
)
@BOTH
def test_a_200_without_a_completion_is_a_failed_call(make: Make, body: bytes, said: str) -> None:
    def script(question: str) -> Reply:
        return completion("pong") if question == "ping" else (200, {}, body)

    with scripted(script) as it:
        [answer] = ask(make(it.url), ["?"])
    assert said in answer.error and answer.text == "" and len(answer.error) < 400
    assert without_pings(it.asked) == {"?": 1}


def raw(content: bytes) -> Reply:
    return 200, {}, b'{"choices": [{"message": {"content": "' + content + b'"}}]}'


@pytest.mark.parametrize(
    ("reply", "text", "cut"),
    [
        (completion(""), "", False),
        (completion("ship", finish="length"), "ship", True),
        (completion("x" * 100_000), "x" * 100_000, False),
        (completion("\u2028a\n\x00"), "\u2028a\n\x00", False),
        (raw(b"ship\xffping"), "ship\ufffdping", False),
        (raw(b"half \\ud83d"), "half \ufffd", False),
        (raw(b"whole \\ud83d\\ude00"), "whole \U0001f600", False),
    ],
    ids=["empty", "cut", "100 kB", "odd characters", "not UTF-8", "half a pair", "a pair"],
)
@BOTH
def test_odd_answers_are_answers_and_are_kept(
    make: Make, reply: Reply, text: str, cut: bool, tmp_path: Path
) -> None:
    with scripted(lambda question: reply) as it:
        found = ask(make(it.url), ["?"], answers=Answers(tmp_path / "kept.jsonl"))
        again = ask(make(it.url), ["?"], answers=Answers(tmp_path / "kept.jsonl"))
    assert [(answer.text, answer.error, answer.cut) for answer in found] == [(text, "", cut)]
    assert again == found
    assert without_pings(it.asked) == {"?": 1}


def test_an_endless_response_is_cut_off() -> None:
    with scripted(lambda question: (200, {}, b" " * (17 << 20))) as it:
        [answer] = ask(endpoint(it.url), ["?"])
    assert answer.error == "the answer is longer than 16,777,216 bytes"


def test_parameters_that_a_refusal_names_are_given_up_and_do_not_change_what_is_kept() -> None:
    def script(question: str) -> Reply:
        return completion("pong") if len(it.asked) > 1 else refusal(400, "Unsupported: 'temperature'")

    with scripted(script) as it:
        respondent = service(it.url)
        before: dict[str, Any] = respondent.identity
        ask(respondent, ["?"])
        assert respondent.identity == before
    assert it.asked == ["ping", "ping", "?"]


def test_progress_says_how_far_how_fast_and_how_long() -> None:
    assert progress(1200, 4000, 3, 10.0) == "1,200 of 4,000 answered, 120.0/s, 3 failed, 0:23 left"
    assert progress(1, 100, 0, 8.0) == "1 of 100 answered, 0.1/s, 0 failed, 13:12 left"
    assert progress(0, 100, 0, 5.0) == "0 of 100 answered, 0.0/s, 0 failed, time left unknown"
