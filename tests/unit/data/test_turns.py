from __future__ import annotations

from typing import Any

import pytest

from retune.data.turns import Turns, ends_with_assistant, roles_in_order, texts_of, with_texts
from retune.text.conversations import Function, Message, ToolCall


def turn(role: str, content: str, **more: Any) -> Message:
    return Message(role=role, content=content, **more)


WITH_ALL = Turns(
    [
        turn("user", "from ann", name="Ann"),
        turn("assistant", "", tool_calls=(ToolCall(Function('{"who":"ann"}', "find"), "c"),), weight=0),
        turn("tool", "ann is out", tool_call_id="c", name="find"),
        turn("assistant", "ann is out"),
    ],
    [turn("assistant", "no ann")],
    "[]",
)


def test_texts_are_all_that_a_person_may_have_written() -> None:
    texts = ["from ann", "Ann", "", '{"who":"ann"}', "ann is out", "ann is out", "no ann"]
    assert texts_of(WITH_ALL) == texts
    changed = with_texts(WITH_ALL, [text.replace("ann", "<P>") for text in texts])
    assert texts_of(changed) == [text.replace("ann", "<P>") for text in texts]
    assert [message.role for message in changed.messages] == ["user", "assistant", "tool", "assistant"]
    assert changed.messages[1].tool_calls[0].id == "c" and changed.messages[1].weight == 0
    assert changed.messages[2].name == "find" and changed.messages[2].tool_call_id == "c"
    assert changed.tools == "[]"


@pytest.mark.parametrize("texts", [[], ["x"] * 6])
def test_too_few_texts_are_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="texts"):
        with_texts(WITH_ALL, texts)


def test_too_many_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="texts"):
        with_texts(WITH_ALL, ["x"] * 8)


def calls(*names: str) -> Message:
    return turn("assistant", "", tool_calls=tuple(ToolCall(Function("{}", "f"), name) for name in names))


def answers(name: str) -> Message:
    return turn("tool", "x", tool_call_id=name)


S, U, A = turn("system", "s"), turn("user", "u"), turn("assistant", "a")


@pytest.mark.parametrize(
    ("messages", "good"),
    [
        ([U, A], True),
        ([S, S, U, A, U, A], True),
        ([U, calls("1", "2"), answers("2"), answers("1"), A], True),
        ([U, calls("1"), answers("1"), calls("2"), answers("2"), A], True),
        ([U, calls("1")], True),
        ([U], True),
        ([A], False),
        ([S, A], False),
        ([U, U, A], False),
        ([U, A, A], False),
        ([U, S, A], False),
        ([U, A, answers("1"), A], False),
        ([U, calls("1"), answers("2"), A], False),
        ([U, calls("1"), answers("1"), answers("1"), A], False),
        ([U, calls("1", "2"), answers("1"), A], False),
        ([U, calls("1"), answers("1"), U, A], False),
        ([U, calls("1"), U, A], False),
        ([answers("1"), A], False),
    ],
)
def test_roles_in_order(messages: list[Message], good: bool) -> None:
    assert roles_in_order(Turns(messages, [], "")) is good


def test_a_worse_answer_follows_what_is_asked() -> None:
    assert roles_in_order(Turns([U, A], [A], ""))
    assert not roles_in_order(Turns([U, A], [U], ""))
    assert ends_with_assistant(Turns([U, A], [A], ""))
    assert not ends_with_assistant(Turns([U, A], [U], ""))
    assert not ends_with_assistant(Turns([U, A, U], [], ""))
    assert not ends_with_assistant(Turns([], [], ""))
