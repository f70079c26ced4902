"""Rows that cannot be represented are refused with their place, and no row breaks a reader."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.data.shapes import (
    ShapeError,
    texts_of,
    with_texts,
)
from tests.unit.data.shape_rows import ASKS, CALL, HALF, SAYS, read


def user(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x", **more}]}


def assistant(**more: Any) -> dict[str, Any]:
    return {"messages": [ASKS, {"role": "assistant", "content": "x", **more}]}


def contents(*parts: Any, role: Any = "user", **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": list(parts)}], **more}


DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]

BAD_ROWS: list[tuple[str, Any, str]] = [
    ("columns", {"text": "x", "queue": 7}, "column 'queue' is 7 (int), not text -> write it as a string"),
    ("columns", {"text": True, "queue": "a"}, "column 'text' is True (bool), not text"),
    ("columns", {"text": ["a"], "queue": "a"}, "column 'text' is ['a'] (list), not text"),
    ("columns", {"text": {}, "queue": "a"}, "column 'text' is {} (dict), not text"),
    (
        "columns",
        {"text": "x", "id": 1},
        "column 'queue' is missing; the row has text, id -> mend the row or data.",
    ),
    ("columns", {}, "column 'text' is missing; the row has nothing"),
    (
        "columns",
        {"text": HALF, "queue": "a"},
        "column 'text' holds half of a surrogate pair -> write the char",
    ),
    ("chat", {"text": "x"}, "'messages' is missing; the row has text -> mend the row or data.format"),
    ("chat", {"messages": None}, "messages is null, not a list"),
    ("chat", {"messages": "x"}, "messages is 'x' (str), not a list"),
    ("chat", {"messages": []}, "messages is empty"),
    ("chat", {"messages": [ASKS, 7]}, "messages[1] is 7 (int), not an object"),
    (
        "chat",
        {"messages": [ASKS, SAYS, {"role": "user", "content": 5}]},
        "messages[2].content is 5 (int), not te",
    ),
    ("chat", {"messages": [{"role": "user"}]}, "messages[0].content is missing"),
    ("chat", {"messages": [{"content": "x"}]}, "messages[0].role is null, not system, developer, user"),
    ("chat", {"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role is 'bot' (str), not system"),
    (
        "chat",
        {"messages": [{"role": ["user"], "content": "x"}]},
        "messages[0].role is ['user'] (list), not system",
    ),
    ("chat", {"messages": [{"role": "function", "content": "x", "name": "f"}]}, "write the role tool"),
    ("chat", user(content=HALF), "messages[0].content holds half of a surrogate pair"),
    ("chat", user(content=[{"type": "text", "text": HALF}]), "messages[0].content[0].text holds half"),
    ("chat", user(content=[{"type": "text", "text": 5}]), "messages[0].content[0].text is 5 (int)"),
    ("chat", user(content=["x"]), "messages[0].content[0] is 'x' (str), not an object"),
    (
        "chat",
        user(content=[{"type": "image_url", "image_url": {}}]),
        "content[0] is of type 'image_url', not text",
    ),
    ("chat", user(content=[{"type": "input_audio"}]), "content[0] is of type 'input_audio', not text"),
    ("chat", user(content={"text": "x"}), "messages[0].content is {'text': 'x'} (dict), not text"),
    ("chat", user(name=5), "messages[0].name is 5 (int), not text"),
    ("chat", user(name=HALF), "messages[0].name holds half"),
    ("chat", user(weight=1), "messages[0].weight stands on the turn of a user"),
    ("chat", user(tool_calls=[CALL]), "messages[0].tool_calls stands on the turn of a user"),
    ("chat", user(images=["x"]), "messages[0].images cannot be kept"),
    ("chat", assistant(weight=2), "messages[1].weight is 2 (int), not 0 or 1"),
    ("chat", assistant(weight=True), "messages[1].weight is True (bool), not 0 or 1"),
    ("chat", assistant(weight="1"), "messages[1].weight is '1' (str), not 0 or 1"),
    ("chat", assistant(weight=[]), "messages[1].weight is [] (list), not 0 or 1"),
    (
        "chat",
        assistant(function_call={"name": "f"}),
        "messages[1].function_call cannot be kept -> write tool_calls",
    ),
    ("chat", assistant(refusal="No."), "messages[1].refusal cannot be kept -> write the refusal as content"),
    ("chat", assistant(audio={"id": "a"}), "messages[1].audio cannot be kept"),
    ("chat", assistant(tool_calls={}), "messages[1].tool_calls is {} (dict), not a list"),
    ("chat", assistant(tool_calls=[5]), "messages[1].tool_calls[0] is 5 (int), not an object"),
    (
        "chat",
        assistant(tool_calls=[{"id": "a"}]),
        "messages[1].tool_calls[0].function is null, not an object",
    ),
    ("chat", assistant(tool_calls=[{**CALL, "id": 5}]), "messages[1].tool_calls[0].id is 5 (int)"),
    (
        "chat",
        assistant(tool_calls=[{**CALL, "type": "custom"}]),
        "tool_calls[0].type is 'custom' (str), not function",
    ),
    ("chat", assistant(tool_calls=[{"function": {"name": ""}}]), "tool_calls[0].function.name is empty"),
    (
        "chat",
        assistant(tool_calls=[{"function": {"name": "f", "arguments": 5}}]),
        "tool_calls[0].function.arguments is 5 (int), not text",
    ),
    (
        "chat",
        assistant(tool_calls=[{"function": {"name": "f", "arguments": {"a": HALF}}}]),
        "tool_calls[0].function.arguments holds half",
    ),
    ("chat", {**user(), "tools": {"a": 1}}, "tools is {'a': 1} (dict), not a list"),
    ("chat", {**user(), "tools": ["f"]}, "tools[0] is 'f' (str), not an object"),
    ("chat", {**user(), "tools": "{"}, "tools is text that is no JSON"),
    ("chat", {**user(), "tools": [{"a": HALF}]}, "tools holds half of a surrogate pair"),
    ("chat", {**user(), "tools": [{"a": DEEP}]}, "tools is no JSON value"),
    ("chat", {**user(), "functions": [{"name": "f"}]}, "functions cannot be kept -> write tools"),
    ("prompt_completion", {"prompt": "x"}, "'completion' is missing; the row has prompt"),
    ("prompt_completion", {"prompt": 5, "completion": "x"}, "prompt is 5 (int), not text"),
    ("prompt_completion", {"prompt": [], "completion": "x"}, "prompt is empty"),
    ("prompt_completion", {"prompt": "x", "completion": [5]}, "completion[0] is 5 (int), not an object"),
    ("preference", {"prompt": "x", "chosen": "y"}, "'rejected' is missing; the row has prompt, chosen"),
    ("preference", {"chosen": "x", "rejected": "y"}, "'prompt' is missing; the row has chosen, rejected"),
    ("preference", {"prompt": "x", "chosen": 1, "rejected": "y"}, "chosen is 1 (int), not text"),
    (
        "preference",
        {"prompt": "x", "chosen": "y", "rejected": HALF},
        "rejected holds half of a surrogate pair",
    ),
    ("preference", {"prompt": "x", "chosen": [], "rejected": []}, "rejected is empty"),
    ("preference", {"chosen": [ASKS, SAYS], "rejected": "y"}, "rejected is 'y' (str), not a list"),
    (
        "preference",
        {"prompt": [ASKS], "chosen": [SAYS, ASKS, SAYS], "rejected": "y"},
        "chosen is 3 turns, not one",
    ),
    (
        "preference",
        {"chosen": [ASKS, SAYS], "rejected": [ASKS, SAYS, ASKS, SAYS]},
        "rejected after what both share is 3 turns, not one -> compare two single answers",
    ),
    ("preference", {"input": {}, "preferred_output": []}, "'non_preferred_output' is missing"),
    (
        "preference",
        {"input": {"messages": 5}, "preferred_output": [], "non_preferred_output": []},
        "input.messages is 5 (int), not a list",
    ),
    (
        "preference",
        {"input": {"messages": [ASKS]}, "preferred_output": [SAYS], "non_preferred_output": [SAYS, SAYS]},
        "non_preferred_output is 2 turns, not one",
    ),
    ("gemini", {"messages": []}, "'contents' is missing"),
    ("gemini", {"contents": [5]}, "contents[0] is 5 (int), not an object"),
    ("gemini", {"contents": [{"role": "user"}]}, "contents[0].parts is null, not a list"),
    (
        "gemini",
        contents({"text": "x"}, role="assistant"),
        "contents[0].role is 'assistant' (str), not user, model",
    ),
    ("gemini", contents({"text": 5}), "contents[0].parts[0].text is 5 (int)"),
    ("gemini", contents({"text": HALF}), "contents[0].parts[0].text holds half"),
    ("gemini", contents({"inlineData": {"mimeType": "image/png"}}), "contents[0].parts[0] holds inlineData"),
    ("gemini", contents({"fileData": {}}), "contents[0].parts[0] holds fileData"),
    ("gemini", contents({}), "contents[0].parts[0] holds nothing"),
    ("gemini", contents({"text": "x", "functionCall": {"name": "f"}}), "parts[0] holds text, functionCall"),
    ("gemini", contents({"text": "x", "thought": True}, role="model"), "contents[0].parts[0] is a thought"),
    ("gemini", contents({"functionCall": {"name": "f"}}), "contents[0] calls a function as user"),
    ("gemini", contents({"functionCall": {"args": {}}}, role="model"), "functionCall.name is empty"),
    (
        "gemini",
        contents({"functionCall": {"name": "f", "args": "x"}}, role="model"),
        "functionCall.args is 'x' (str)",
    ),
    (
        "gemini",
        contents({"functionResponse": {"name": "f", "response": {}}}, role="model"),
        "contents[0] answers a function as model",
    ),
    (
        "gemini",
        contents({"functionResponse": {"name": "f"}}),
        "functionResponse.response is null, not an object",
    ),
    ("gemini", contents({"text": "x"}, systemInstruction=5), "systemInstruction is 5 (int), not an object"),
    (
        "gemini",
        contents({"text": "x"}, systemInstruction={"parts": [{"inlineData": {}}]}),
        "systemInstruction.parts[0] holds inlineData",
    ),
    ("gemini", contents({"text": "x"}, tools=[{"googleSearch": {}}]), "tools[0] declares no function"),
    ("gemini", contents({"text": "x"}, completions=[{}]), "completions has 1, not two"),
    (
        "gemini",
        contents({"text": "x"}, completions=[{"score": "1"}, {}]),
        "completions[0].score is '1' (str)",
    ),
    (
        "gemini",
        contents({"text": "x"}, completions=[{"score": 1, "completion": {}}] * 2),
        "completions have the same score, 1",
    ),
]


@pytest.mark.parametrize(("shape", "row", "said"), BAD_ROWS, ids=[said[:40] for _, _, said in BAD_ROWS])
def test_a_row_that_cannot_be_represented_names_the_place(shape: str, row: Any, said: str) -> None:
    with pytest.raises(ShapeError) as caught:
        read(shape, row)
    assert said in str(caught.value)
    assert caught.value.what and caught.value.action
    str(caught.value).encode()  # what is said of half a character must itself be writable
    # Rows are read in other processes.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "messages role content prompt completion chosen rejected input tools tool_calls function "
                "name type text parts contents systemInstruction completions score functionCall args".split()
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(["columns", "chat", "prompt_completion", "preference", "gemini"]),
    st.dictionaries(
        st.sampled_from(
            ["messages", "text", "queue", "prompt", "completion", "chosen", "rejected", "contents"]
        )
        | st.text(max_size=3),
        anything,
        max_size=6,
    ),
)
def test_no_row_breaks_a_reader(shape: str, row: dict[str, Any]) -> None:
    try:
        turns = read(shape, row)
    except ShapeError as error:
        str(error).encode()
        return
    assert turns.messages
    assert all(isinstance(text, str) and text.encode() is not None for text in texts_of(turns))
    assert with_texts(turns, texts_of(turns)) == turns
