from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from retune.errors import DataError
from retune.text.conversations import Conversation, Function, Message, ToolCall, make
from retune.text.formats import gemini_rows, openai_rows, trl_rows
from retune.text.formats.limits import Format, check


def turn(role: str, content: str = "x", **more: Any) -> Message:
    return Message(role=role, content=content, **more)


def call(arguments: str = "{}", name: str = "f", id: str = "c") -> Message:
    return turn("assistant", "", tool_calls=(ToolCall(Function(arguments, name), id),))


U, A, S, T = turn("user"), turn("assistant"), turn("system"), turn("tool", tool_call_id="c")
GOOD = make([S, U, A])
PAIR = make([S, U, A], [turn("assistant", "worse")])
SFT = (openai_rows.SFT, gemini_rows.SFT, trl_rows.SFT)
PREFERENCE = (openai_rows.PREFERENCE, gemini_rows.PREFERENCE, trl_rows.PREFERENCE)

REFUSED: list[tuple[Format, Conversation, str]] = [
    *((wanted, make([U, turn("assistant", "")]), "turn 1 of the assistant is empty") for wanted in SFT),
    *((wanted, make([turn("user", ""), A]), "turn 0 of the user is empty") for wanted in SFT),
    *((wanted, make([U, A, U]), "the last turn is the user's") for wanted in SFT),
    *((wanted, make([U, call("nothing"), T, A]), "calls f with 'nothing'") for wanted in SFT),
    *((wanted, make([U, call("[1]"), T, A]), "calls f with '[1]'") for wanted in SFT),
    *((wanted, GOOD, "the worse answer has 0 turns, not one") for wanted in PREFERENCE),
    *((wanted, make([U, A], [A, U]), "the worse answer has 2 turns, not one") for wanted in PREFERENCE),
    *((wanted, make([U, A], [U]), "the worse answer is the user's") for wanted in PREFERENCE),
    *(
        (wanted, make([U, A], [turn("assistant", "")]), "turn 2 of the assistant is empty")
        for wanted in PREFERENCE
    ),
    (openai_rows.SFT, make([U, U, A]), "the turns are user, user, assistant"),
    (openai_rows.SFT, make([U, turn("assistant", weight=0)]), "no answer has the weight 1"),
    (openai_rows.SFT, make([U, call(id="")]), "calls f without an id"),
    (openai_rows.SFT, make([U, call(name="a b")]), "calls 'a b'"),
    (openai_rows.SFT, make([U, call(name="f" * 65)]), "calls 'ffff"),
    (
        openai_rows.PREFERENCE,
        make([U, A], [turn("assistant", weight=0)]),
        "an answer of the pair has the weight 0",
    ),
    (gemini_rows.SFT, make([A]), "the turns are assistant"),
    (gemini_rows.SFT, make([U, S, A]), "the turns are user, system, assistant"),
    (gemini_rows.SFT, make([S, S, U, A]), "2 system turns"),
    (gemini_rows.SFT, make([turn("user", name="Ann"), A]), "turn 0 is by 'Ann'"),
    (
        gemini_rows.SFT,
        make([U, turn("assistant", weight=0), U, A]),
        "turn 1 has weight 0, and Gemini learns every",
    ),
    (gemini_rows.SFT, make([U, A], tools='[{"type":"custom"}]'), "a tool is of type 'custom'"),
    (gemini_rows.PREFERENCE, make([U, call(), T, A], [A]), "the pair answers the tool"),
    (trl_rows.SFT, make([U, turn("assistant", weight=0), U, A]), "turn 1 has weight 0, and TRL learns every"),
]


@pytest.mark.parametrize(
    ("wanted", "row", "said"), REFUSED, ids=[f"{wanted.name}: {said:.40}" for wanted, _, said in REFUSED]
)
def test_what_a_format_cannot_hold_is_refused(wanted: Format, row: Conversation, said: str) -> None:
    with pytest.raises(DataError) as caught:
        wanted.line(row)
    assert said in str(caught.value) and all(problem.action for problem in caught.value.problems)
    good = PAIR if wanted in PREFERENCE else GOOD
    (found,) = [one for one in check([good] * 20 + [row], wanted, "train") if said in one.what]
    assert (found.file, found.line) == ("train", 21)


@pytest.mark.parametrize("wanted", SFT + PREFERENCE, ids=lambda wanted: wanted.name)
def test_a_good_file_is_taken(wanted: Format) -> None:
    rows = [PAIR if wanted in PREFERENCE else GOOD] * 10
    assert check(rows, wanted, "train") == []
    assert check(rows[:1], wanted, "validation", validation=True) == []
    assert [problem.what for problem in check([], wanted, "validation", validation=True)] != []


def test_openai_wants_ten_examples() -> None:
    assert "9 examples, at least 10 are needed" in check([GOOD] * 9, openai_rows.SFT, "train")[0].what
    assert "9 examples, at least 10 are needed" in check([PAIR] * 9, openai_rows.PREFERENCE, "train")[0].what


def test_the_size_of_a_file_is_that_of_its_lines() -> None:
    size = len(openai_rows.SFT.line(GOOD)) * 10
    tight = replace(openai_rows.SFT, limits=replace(openai_rows.SFT.limits, most_bytes=size))
    assert check([GOOD] * 10, tight, "train") == []
    assert f"at most {size:,} are taken" in check([GOOD] * 11, tight, "train")[0].what


def test_gemini_takes_5000_rows_to_validate() -> None:
    rows = [GOOD] * 5001
    assert "5,001 examples, at most 5,000" in check(rows, gemini_rows.SFT, "v", validation=True)[0].what
    assert check(rows, gemini_rows.SFT, "train") == []
    few = replace(gemini_rows.SFT, limits=replace(gemini_rows.SFT.limits, most_examples=5000))
    assert "5,001 examples, at most 5,000" in check(rows, few, "train")[0].what


def test_tokens_of_an_example() -> None:
    assert openai_rows.most_tokens("gpt-4.1-mini-2025-04-14") == 65_536
    assert openai_rows.most_tokens("my-own") is None
    lengths = {GOOD: 9, PAIR: 10}
    found = check([GOOD, PAIR] * 10, openai_rows.SFT, "t", tokens=lengths.__getitem__, most_tokens=9)
    assert [problem.line for problem in found] == list(range(2, 21, 2))
    assert "has 10 tokens, at most 9 are taken" in found[0].what
    found = check([GOOD], gemini_rows.SFT, "t", tokens=lambda row: 131_073)
    assert "131,073 tokens, at most 131,072" in found[0].what


def test_many_problems_are_counted() -> None:
    found = check([make([U, U])] * 50, gemini_rows.SFT, "t")
    assert len(found) == 21 and found[-1].what == "and 80 more problems"
