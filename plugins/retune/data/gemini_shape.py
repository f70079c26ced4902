"""Rows of Gemini: `contents`, and `completions` where two answers are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retune.data.chat_shape import missing
from retune.data.turns import ShapeError, Turns, json_text, keys_of, list_of, object_of, seen, single, text_of
from retune.text.conversations import Function, Message, ToolCall

# What may stand beside a part's one kind of data.
_BESIDE = {"thoughtSignature", "thought_signature", "thought"}
_SCHEMA_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}


def read_gemini(row: Mapping[str, Any]) -> Turns:
    """Read `{"systemInstruction": ..., "contents": [...]}`, in a preference with `"completions"`."""
    if "contents" not in row:
        raise missing("contents", row)
    reader = _Reader()
    instruction = row.get("systemInstruction", row.get("system_instruction"))
    if instruction is not None:
        reader.messages.append(Message(role="system", content=_instruction(instruction)))
    for index, content in enumerate(list_of(row["contents"], "contents")):
        reader.add(content, f"contents[{index}]")
    tools = _tools(row.get("tools"))
    if row.get("completions") is None:
        return Turns(reader.messages, [], tools)
    better, worse = _ranked(row["completions"])
    chosen, rejected = reader.branch(), reader.branch()
    chosen.add(*better)
    rejected.add(*worse)
    messages = reader.messages + single(chosen.messages, better[1])
    return Turns(messages, single(rejected.messages, worse[1]), tools)


def _instruction(value: object) -> str:
    if isinstance(value, str):
        return text_of(value, "systemInstruction")
    parts = object_of(value, "systemInstruction").get("parts")
    texts = []
    for index, part in enumerate(list_of(parts, "systemInstruction.parts")):
        place = f"systemInstruction.parts[{index}]"
        kind, found = _part(part, place)
        if kind != "text":
            raise ShapeError(f"{place} is {kind}, not text", "write the instruction as text")
        texts.append(text_of(found, f"{place}.text"))
    return "".join(texts)


class _Reader:
    """The turns so far, and the calls that no tool has answered yet."""

    def __init__(self, calls: int = 0) -> None:
        self.messages: list[Message] = []
        self._waiting: list[tuple[str, str]] = []
        self._calls = calls

    def branch(self) -> _Reader:
        """Return a reader of another answer to the same turns."""
        return _Reader(self._calls)

    def add(self, content: object, place: str) -> None:
        """Read one content, which may hold the answers of several tools."""
        content = object_of(content, place)
        role = content.get("role", "user")
        if role not in ("user", "model", "function"):
            raise ShapeError(
                f"{place}.role is {seen(role)}, not user, model or function", "write one of these"
            )
        texts: list[str] = []
        calls: list[ToolCall] = []
        answered = False
        for index, part in enumerate(list_of(content.get("parts"), f"{place}.parts")):
            here = f"{place}.parts[{index}]"
            kind, value = _part(part, here)
            if kind == "text":
                texts.append(text_of(value, f"{here}.text"))
            elif kind == "functionCall":
                calls.append(self._call(value, here))
            else:
                self.messages.append(self._answer(value, here))
                answered = True
        if calls and role != "model":
            raise ShapeError(f"{place} calls a function as {role}", "only the model calls functions")
        if answered and role == "model":
            raise ShapeError(f"{place} answers a function as model", "write the role function")
        if texts or calls:
            turn = "assistant" if role == "model" else "user"
            self.messages.append(Message(role=turn, content="".join(texts), tool_calls=tuple(calls)))

    def _call(self, value: object, place: str) -> ToolCall:
        call = object_of(value, f"{place}.functionCall")
        name = _name(call, f"{place}.functionCall")
        arguments = object_of(call.get("args") or {}, f"{place}.functionCall.args")
        # Gemini matches by name and order where there is no id; others need one.
        name_of_call = text_of(call.get("id"), f"{place}.functionCall.id") or f"call_{self._calls}"
        self._calls += 1
        self._waiting.append((name, name_of_call))
        text = json_text(arguments, f"{place}.functionCall.args")
        return ToolCall(Function(text, name), name_of_call)

    def _answer(self, value: object, place: str) -> Message:
        answer = object_of(value, f"{place}.functionResponse")
        name = _name(answer, f"{place}.functionResponse")
        known = text_of(answer.get("id"), f"{place}.functionResponse.id")
        call = known or next((call for called, call in self._waiting if called == name), "")
        if (name, call) in self._waiting:
            self._waiting.remove((name, call))
        text = _response(answer.get("response"), f"{place}.functionResponse.response")
        return Message(role="tool", content=text, name=name, tool_call_id=call)


def _response(value: object, place: str) -> str:
    """Read what a function answered: the text under `output`, or else the whole object as JSON."""
    found = object_of(value, place)
    if set(found) == {"output"} and isinstance(found["output"], str):
        return text_of(found["output"], f"{place}.output")
    return json_text(found, place)


def _part(value: object, place: str) -> tuple[str, Any]:
    """Return a part's kind and data."""
    part = object_of(value, place)
    kinds = [key for key, found in part.items() if found is not None and key not in _BESIDE]
    kind = {"function_call": "functionCall", "function_response": "functionResponse"}.get(
        kinds[0] if kinds else "", kinds[0] if kinds else ""
    )
    if part.get("thought"):
        raise ShapeError(f"{place} is a thought", "take thoughts out: they are not part of an answer")
    if len(kinds) != 1 or kind not in ("text", "functionCall", "functionResponse"):
        raise ShapeError(
            f"{place} holds {keys_of(dict.fromkeys(kinds))}", "only text and function calls are learned"
        )
    return kind, part[kinds[0]]


def _name(value: Mapping[str, Any], place: str) -> str:
    name = text_of(value.get("name"), f"{place}.name")
    if not name:
        raise ShapeError(f"{place}.name is empty", "name the function")
    return name


def _ranked(value: object) -> tuple[tuple[object, str], tuple[object, str]]:
    """Return the better and the worse completion, each with its place."""
    found = list_of(value, "completions")
    if len(found) != 2:
        raise ShapeError(f"completions has {len(found)}, not two", "write the better and the worse answer")
    ranked = []
    for index, item in enumerate(found):
        place = f"completions[{index}]"
        score = object_of(item, place).get("score")
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise ShapeError(f"{place}.score is {seen(score)}, not a number", "write 1 and 0")
        ranked.append((score, item.get("completion"), f"{place}.completion"))
    if ranked[0][0] == ranked[1][0]:
        raise ShapeError(f"completions have the same score, {ranked[0][0]}", "give the better one more")
    better, worse = sorted(ranked, key=lambda one: -one[0])
    return better[1:], worse[1:]


def _tools(value: object) -> str:
    """Return Gemini's tools as OpenAI has them, as canonical JSON."""
    if not value:
        return ""
    tools = []
    for index, tool in enumerate(list_of(value, "tools")):
        place = f"tools[{index}]"
        tool = object_of(tool, place)
        declared = tool.get("functionDeclarations", tool.get("function_declarations"))
        if declared is None:
            raise ShapeError(f"{place} declares no function", "only functions can be called")
        for number, function in enumerate(list_of(declared, f"{place}.functionDeclarations")):
            function = object_of(function, f"{place}.functionDeclarations[{number}]")
            tools.append({"type": "function", "function": _json_schema(function)})
    return json_text(tools, "tools")


def _json_schema(value: Any) -> Any:
    """Return a schema with JSON Schema's names of types, which Gemini writes in capitals."""
    if isinstance(value, dict):
        return {
            key: item.lower()
            if key == "type" and isinstance(item, str) and item in _SCHEMA_TYPES
            else _json_schema(item)
            for key, item in value.items()
        }
    return [_json_schema(item) for item in value] if isinstance(value, list) else value
