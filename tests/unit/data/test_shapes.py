"""Each shape of rows becomes conversations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retune.data.shapes import (
    ends_with_assistant,
    reader_of,
    roles_in_order,
)
from retune.spec.data import Data
from retune.text.conversations import Function, Message, ToolCall
from tests.unit.data.shape_rows import ASKS, CALL, SAYS, TOOL, read


def turn(role: str, content: str, **more: Any) -> Message:
    return Message(role=role, content=content, **more)


def test_columns_become_a_question_and_its_answer() -> None:
    row = {"text": "Größe?", "queue": None, "id": 7}
    assert read("columns", row).messages == [turn("user", "Größe?"), turn("assistant", "")]
    assert read("columns", row, "Say it.").messages[0] == turn("system", "Say it.")


def test_a_system_prompt_gives_way_to_the_rows_own() -> None:
    own = {"messages": [{"role": "developer", "content": "Own."}, ASKS, SAYS]}
    assert read("chat", own, "Ours.").messages[0] == turn("system", "Own.")
    read_row = reader_of(Data(sources=("x",), format="chat", system_prompt="Ours."))
    # Twice, for a prompt put into the row's own list would pile up.
    for _ in range(2):
        roles = [message.role for message in read_row({"messages": [ASKS, SAYS]}).messages]
        assert roles == ["system", "user", "assistant"]


def test_chat_keeps_all_that_a_row_says() -> None:
    row = {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "ü"}],
                "name": "Ann",
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0, "refusal": None},
            {"role": "tool", "content": "found", "tool_call_id": "call_1"},
            {"role": "assistant", "content": "Done.", "weight": 1, "tool_calls": None, "name": None},
        ],
        "tools": [TOOL],
        "parallel_tool_calls": True,
    }
    turns = read("chat", row)
    assert turns.messages == [
        turn("user", "aü", name="Ann"),
        turn("assistant", "", weight=0, tool_calls=(ToolCall(Function('{"q": "x"}', "find"), "call_1"),)),
        turn("tool", "found", tool_call_id="call_1"),
        turn("assistant", "Done."),
    ]
    assert turns.tools == json.dumps([TOOL], sort_keys=True, separators=(",", ":"))
    assert read("chat", {**row, "tools": json.dumps([TOOL])}).tools == turns.tools
    assert read("chat", {**row, "tools": []}).tools == read("chat", {**row, "tools": "null"}).tools == ""


def test_arguments_that_are_an_object_become_their_json() -> None:
    call = {"function": {"name": "find", "arguments": {"z": 1, "a": "ü"}}}
    message = read("chat", {"messages": [ASKS, {"role": "assistant", "tool_calls": [call]}]}).messages[1]
    assert message.tool_calls == (ToolCall(Function('{"a":"ü","z":1}', "find"), ""),)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How?", "completion": "So."},
        {"prompt": [ASKS], "completion": [SAYS]},
        {"prompt": [ASKS], "completion": "So."},
    ],
)
def test_prompt_and_completion(row: Any) -> None:
    assert read("prompt_completion", row) == ([turn("user", "How?"), turn("assistant", "So.")], [], "")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How?", "chosen": "So.", "rejected": "No."},
        {"prompt": [ASKS], "chosen": [SAYS], "rejected": [{**SAYS, "content": "No."}]},
        {"chosen": [ASKS, SAYS], "rejected": [ASKS, {**SAYS, "content": "No."}]},
        {"prompt": "How?", "chosen": [ASKS, SAYS], "rejected": [ASKS, {**SAYS, "content": "No."}]},
        {"prompt": "How?", "chosen": [SAYS], "rejected": [{**SAYS, "content": "No."}]},
        {
            "input": {"messages": [ASKS], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [SAYS],
            "non_preferred_output": [{**SAYS, "content": "No."}],
        },
    ],
)
def test_preference(row: Any) -> None:
    good = [turn("user", "How?"), turn("assistant", "So.")]
    assert read("preference", row) == (good, [turn("assistant", "No.")], "")


def test_a_preference_whose_answers_are_the_same_keeps_both() -> None:
    turns = read("preference", {"chosen": [ASKS, SAYS], "rejected": [ASKS, SAYS]})
    assert turns.messages[-1:] == turns.rejected == [turn("assistant", "So.")]


def test_gemini() -> None:
    row = {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be "}, {"text": "short."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "How?"}]},
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "find", "args": {"q": 1}}},
                    {"functionCall": {"name": "see"}},
                ],
            },
            # Without a role it is the user's; the answers may come in any order.
            {
                "parts": [
                    {"functionResponse": {"name": "see", "response": {"output": "a tree"}}},
                    {"functionResponse": {"name": "find", "response": {"b": 2, "a": 1}}},
                ]
            },
            {"role": "model", "parts": [{"text": "So", "thoughtSignature": "x"}, {"text": "."}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "find", "parameters": {"type": "OBJECT"}}]}],
    }
    turns = read("gemini", row)
    assert turns.messages == [
        turn("system", "Be short."),
        turn("user", "How?"),
        turn(
            "assistant",
            "",
            tool_calls=(
                ToolCall(Function('{"q":1}', "find"), "call_0"),
                ToolCall(Function("{}", "see"), "call_1"),
            ),
        ),
        turn("tool", "a tree", name="see", tool_call_id="call_1"),
        turn("tool", '{"a":1,"b":2}', name="find", tool_call_id="call_0"),
        turn("assistant", "So."),
    ]
    assert json.loads(turns.tools) == [TOOL]
    assert roles_in_order(turns) and ends_with_assistant(turns)


def test_gemini_preference_goes_by_the_score() -> None:
    answers = [
        {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
        for score, text in ((0, "No."), (1, "So."))
    ]
    turns = read(
        "gemini", {"contents": [{"role": "user", "parts": [{"text": "How?"}]}], "completions": answers}
    )
    assert turns == ([turn("user", "How?"), turn("assistant", "So.")], [turn("assistant", "No.")], "")
