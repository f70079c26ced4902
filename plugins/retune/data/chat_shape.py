"""Lists of messages as OpenAI and TRL write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from retune.data.turns import (
    ShapeError,
    Turns,
    encodable,
    json_text,
    keys_of,
    list_of,
    object_of,
    seen,
    single,
    text_of,
)
from retune.text.conversations import Function, Message, ToolCall

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def read_chat(row: Mapping[str, Any]) -> Turns:
    """Read `{"messages": [...], "tools": [...]}`."""
    if "messages" not in row:
        raise missing("messages", row)
    return Turns(messages_of(row["messages"], "messages"), [], tools_of(row))


def read_openai_preference(row: Mapping[str, Any]) -> Turns:
    """Read `{"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}`."""
    for key in ("input", "preferred_output", "non_preferred_output"):
        if key not in row:
            raise missing(key, row)
    asked = object_of(row["input"], "input")
    context = messages_of(asked.get("messages"), "input.messages")
    better, worse = (
        single(messages_of(row[key], key), key) for key in ("preferred_output", "non_preferred_output")
    )
    return Turns(context + better, worse, tools_of(asked, "input.tools"))


def missing(key: str, row: Mapping[str, Any]) -> ShapeError:
    """Return the error for a row that lacks a key."""
    return ShapeError(f"{key!r} is missing; the row has {keys_of(row)}", "mend the row or data.format")


def messages_of(value: object, place: str) -> list[Message]:
    """Read a list of messages.

    Args:
        value: What the row holds.
        place: Where, as problems name it.

    Raises:
        ShapeError: A message cannot be represented.
    """
    messages = []
    for index, turn in enumerate(list_of(value, place)):
        # Nearly all turns are a known role and a text, so these come without a word said.
        if type(turn) is dict and len(turn) == 2:
            role, content = turn.get("role"), turn.get("content")
            if type(role) is str and role in _ROLES and type(content) is str and encodable(content):
                messages.append(Message(role=_ROLES[role], content=content))
                continue
        messages.append(_message(turn, f"{place}[{index}]"))
    return messages


def _message(turn: object, place: str) -> Message:
    """Read a message with care."""
    turn = object_of(turn, place)
    role = _role(turn.get("role"), place)
    calls = _calls(turn.get("tool_calls"), role, f"{place}.tool_calls")
    if "content" not in turn and not calls:
        raise ShapeError(f"{place}.content is missing", "write the turn's text")
    for key in ("function_call", "audio", "refusal", "images"):
        if turn.get(key):
            raise ShapeError(f"{place}.{key} cannot be kept", _INSTEAD[key])
    return Message(
        role=role,
        content=_content(turn.get("content"), f"{place}.content"),
        name=text_of(turn.get("name"), f"{place}.name"),
        tool_call_id=text_of(turn.get("tool_call_id"), f"{place}.tool_call_id"),
        tool_calls=calls,
        weight=_weight(turn.get("weight"), role, f"{place}.weight"),
    )


_INSTEAD = {
    "function_call": "write tool_calls: function_call is the form of 2023",
    "audio": "only text is learned: write what is said as content",
    "refusal": "write the refusal as content",
    "images": "only text is learned: take the row out",
}


def _role(value: object, place: str) -> str:
    role = _ROLES.get(value) if isinstance(value, str) else None
    if role is None:
        action = "write the role tool" if value == "function" else "write one of these"
        known = "system, developer, user, assistant or tool"
        raise ShapeError(f"{place}.role is {seen(value)}, not {known}", action)
    return role


def _content(value: object, place: str) -> str:
    if not isinstance(value, list):
        return text_of(value, place)
    texts = []
    for index, part in enumerate(value):
        part = object_of(part, f"{place}[{index}]")
        kind = part.get("type")
        if kind != "text":
            raise ShapeError(f"{place}[{index}] is of type {kind!r:.60}, not text", "only text is learned")
        texts.append(text_of(part.get("text"), f"{place}[{index}].text"))
    return "".join(texts)


def _weight(value: object, role: str, place: str) -> int:
    if value is None:
        return 1
    if role != "assistant":
        raise ShapeError(f"{place} stands on the turn of a {role}", "weights are for the assistant's turns")
    if isinstance(value, bool) or value not in (0, 1):
        raise ShapeError(f"{place} is {seen(value)}, not 0 or 1", "write 0 where it is not to be learned")
    return 1 if value else 0


def _calls(value: object, role: str, place: str) -> tuple[ToolCall, ...]:
    if value is None or value == []:
        return ()
    if role != "assistant":
        raise ShapeError(f"{place} stands on the turn of a {role}", "only the assistant calls tools")
    return tuple(_call(call, f"{place}[{index}]") for index, call in enumerate(list_of(value, place)))


def _call(value: object, place: str) -> ToolCall:
    call = object_of(value, place)
    kind = call.get("type") or "function"
    if kind != "function":
        raise ShapeError(f"{place}.type is {seen(kind)}, not function", "only functions can be called")
    function = object_of(call.get("function"), f"{place}.function")
    name = text_of(function.get("name"), f"{place}.function.name")
    if not name:
        raise ShapeError(f"{place}.function.name is empty", "name the function")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        # TRL has an object here, OpenAI its JSON as text.
        arguments = json_text(arguments, f"{place}.function.arguments")
    arguments = text_of(arguments, f"{place}.function.arguments")
    return ToolCall(Function(arguments, name), text_of(call.get("id"), f"{place}.id"))


def tools_of(row: Mapping[str, Any], place: str = "tools") -> str:
    """Return a row's `tools`, a list or its JSON as text, as canonical JSON; empty if there are none.

    Args:
        row: What may hold them.
        place: Where, as problems name it.

    Raises:
        ShapeError: They are no list of tools, or the row has the `functions` of 2023.
    """
    if row.get("functions"):
        raise ShapeError(
            f"{place[:-5]}functions cannot be kept", "write tools: functions is the form of 2023"
        )
    value = row.get("tools")
    if not value:
        return ""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(text_of(value, place))
        except (msgspec.DecodeError, RecursionError) as error:
            raise ShapeError(f"{place} is text that is no JSON: {error}", "write a list of tools") from None
        if not value:
            return ""
    for index, tool in enumerate(list_of(value, place)):
        object_of(tool, f"{place}[{index}]")
    return json_text(value, place)
