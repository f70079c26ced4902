"""Gemini's lines for supervised fine-tuning and for preference tuning.

Read in 2026, below docs.cloud.google.com/vertex-ai/generative-ai/docs/models/:

- gemini-supervised-tuning: up to 1 GB a file, 1M text examples, 5,000 validation examples, 131,072
  tokens an example (Gemini 2.5).
- gemini-supervised-tuning-prepare, tune-function-calling: the shape of a line.
- gemini-preference-tuning and -prepare: text only, ends with a user turn, a pair of completions, of
  which one has the score 1 and one 0; 131,072 tokens; 5,000 validation examples.

Not confirmed: two versions of gemini-preference-tuning differ (1 GB and 10M examples, or 10 GB and
1M), so the smaller of each is taken; a least number of examples is published nowhere for Gemini 2.x
(1.0 asked for 16); whether GB means 10^9 bytes (it is taken so). That user and model alternate is
what the service's API asks for, the tuning pages only show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from retune.text.conversations import Conversation, Message, ToolCall
from retune.text.formats.limits import Flaw, Format, Limits, json_object, pair_flaws, turn_flaws, unweighted
from retune.text.roles import in_order

_PAGES = "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/"
_TYPES = {"string", "number", "integer", "boolean", "array", "object"}
_canonical = msgspec.json.Encoder(order="sorted")


def _parts(turn: Message) -> list[dict[str, Any]]:
    text: list[dict[str, Any]] = [{"text": turn.content}] if turn.content else []
    return text + [
        {"functionCall": {"name": call.function.name, "args": json_object(call.function.arguments)}}
        for call in turn.tool_calls
    ]


def _contents(messages: Sequence[Message]) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    calls: tuple[ToolCall, ...] = ()
    for role, group in groupby(messages, key=lambda turn: turn.role):
        if role == "tool":
            contents.append({"role": "user", "parts": _answers(calls, list(group))})
            continue
        for turn in group:
            contents.append({"role": "model" if role == "assistant" else "user", "parts": _parts(turn)})
            calls = turn.tool_calls
    return contents


def _answers(calls: Sequence[ToolCall], turns: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the tools' answers in the order of the calls, by which Gemini matches them."""
    content = {turn.tool_call_id: turn.content for turn in turns}
    return [
        {"functionResponse": {"name": call.function.name, "response": _response(content[call.id])}}
        for call in calls
        if call.id in content
    ]


def _response(content: str) -> dict[str, Any]:
    """Return an answer as the object that it is, or under the key that Gemini has for others."""
    found = json_object(content)
    if found is None or set(found) == {"output"} or _canonical.encode(found).decode() != content:
        return {"output": content}
    return found


def _schema(value: Any) -> Any:
    """Return a JSON schema with the names of types as Gemini writes them."""
    if isinstance(value, dict):
        return {
            key: item.upper() if key == "type" and isinstance(item, str) and item in _TYPES else _schema(item)
            for key, item in value.items()
        }
    return [_schema(item) for item in value] if isinstance(value, list) else value


def _around(row: Conversation, messages: Sequence[Message]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if messages and messages[0].role == "system":
        found["systemInstruction"] = {"role": "system", "parts": [{"text": messages[0].content}]}
        messages = messages[1:]
    found["contents"] = _contents(messages)
    if row.tools:
        declared = [_schema(tool["function"]) for tool in msgspec.json.decode(row.tools)]
        found["tools"] = [{"functionDeclarations": declared}]
    return found


def _sft(row: Conversation) -> dict[str, Any]:
    return _around(row, row.messages)


def _preference(row: Conversation) -> dict[str, Any]:
    better, worse = _contents([row.messages[-1]]), _contents(row.rejected)
    completions = [{"score": 1, "completion": better[0]}, {"score": 0, "completion": worse[0]}]
    return {**_around(row, row.context), "completions": completions}


def _flaws(row: Conversation) -> Iterator[Flaw]:
    yield from turn_flaws(row)
    if not in_order(row.messages):
        roles = ", ".join(turn.role for turn in row.messages)
        yield f"the turns are {roles:.80}", "put system first, then user and assistant by turns"
    systems = sum(turn.role == "system" for turn in row.messages)
    if systems > 1:
        yield f"{systems} system turns", "join them: Gemini has one instruction"
    for number, turn in enumerate(row.messages):
        if turn.name and turn.role != "tool":
            yield f"turn {number} is by {turn.name!r:.60}, and Gemini has no names", "write it into the text"
        if len({call.id for call in turn.tool_calls}) < len(turn.tool_calls):
            yield f"turn {number} gives two calls one id", "give every call an id"
    for tool in msgspec.json.decode(row.tools) if row.tools else ():
        if not isinstance(tool.get("function"), dict):
            yield f"a tool is of type {tool.get('type')!r:.60}", "only functions can be called"


def _sft_flaws(row: Conversation) -> Iterator[Flaw]:
    yield from _flaws(row)
    yield from unweighted(row.messages, "Gemini")


def _preference_flaws(row: Conversation) -> Iterator[Flaw]:
    yield from _flaws(row)
    yield from pair_flaws(row)
    if row.context and row.context[-1].role != "user":
        yield f"the pair answers the {row.context[-1].role}", "end what is asked with the user's turn"


SFT = Format(
    "Gemini SFT",
    _sft,
    _sft_flaws,
    Limits(
        _PAGES + "gemini-supervised-tuning",
        most_examples=10**6,
        most_validation=5_000,
        most_bytes=10**9,
        most_tokens=131_072,
    ),
)
"""Supervised fine-tuning; of a preference the better answer is learned."""
PREFERENCE = Format(
    "Gemini preference",
    _preference,
    _preference_flaws,
    Limits(
        _PAGES + "gemini-preference-tuning",
        most_examples=10**6,
        most_validation=5_000,
        most_bytes=10**9,
        most_tokens=131_072,
    ),
)
"""Preference tuning."""
