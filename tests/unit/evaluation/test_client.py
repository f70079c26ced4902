"""The client asks each question once, bounds what is under way, and takes whatever is answered."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from retune.evaluation.answers import Answers
from retune.evaluation.client import progress
from tests.unit.evaluation.asking import BOTH, Make, ask, endpoint, numbered, service, without_pings
from tests.unit.evaluation.scripted_server import Reply, completion, refusal, scripted

ROOT = Path(__file__).resolve().parents[3]


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
from tests.unit.evaluation.asking import ask, endpoint, numbered
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


def test_what_is_asked_says_that_it_is_no_traffic() -> None:
    with scripted(completion) as it:
        ask(endpoint(it.url), ["?"])
    assert it.headers and all(headers["x-retune-probe"] == "1" for headers in it.headers)


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
