"""How a source row holds its conversation, by `data.format`.

A row that a shape cannot represent is refused with a `ShapeError`. Whether the conversation is a
good one (roles in order, an answer at the end, nothing empty) is for the expectations to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from retune.data.chat_shape import messages_of, missing, read_chat, read_openai_preference, tools_of
from retune.data.gemini_shape import read_gemini
from retune.data.turns import (
    ShapeError,
    Turns,
    ends_with_assistant,
    keys_of,
    list_of,
    roles_in_order,
    single,
    text_of,
    texts_of,
    with_texts,
)
from retune.spec.data import Data
from retune.text.conversations import Message

__all__ = [
    "ShapeError",
    "Turns",
    "ends_with_assistant",
    "reader_of",
    "roles_in_order",
    "texts_of",
    "with_texts",
]

Row = Mapping[str, Any]
Reader = Callable[[Row], Turns]


def reader_of(data: Data) -> Reader:
    """Return what turns one source row into a conversation.

    The reader raises ShapeError for a row that is none.

    Args:
        data: Its format, its columns, and the system prompt for rows that have none of their own.
    """
    read = _columns(data.columns.prompt, data.columns.completion) if data.format == "columns" else None
    return _with_system(read or _READERS[data.format], data.system_prompt)


def _with_system(read: Reader, prompt: str) -> Reader:
    if not prompt:
        return read
    system = Message(role="system", content=prompt)

    def read_with_system(row: Row) -> Turns:
        turns = read(row)
        for message in turns.messages:
            if message.role == "system":
                return turns
        turns.messages.insert(0, system)
        return turns

    return read_with_system


def _columns(prompt: str, completion: str) -> Reader:
    def read(row: Row) -> Turns:
        question, answer = _column(row, prompt), _column(row, completion)
        return Turns(
            [Message(role="user", content=question), Message(role="assistant", content=answer)], [], ""
        )

    return read


def _column(row: Row, name: str) -> str:
    if name not in row:
        what = f"column {name!r} is missing; the row has {keys_of(row)}"
        raise ShapeError(what, "mend the row or data.columns")
    value = row[name]
    if type(value) is str and value.isascii():
        return value
    return text_of(value, f"column {name!r}")


def _prompt_completion(row: Row) -> Turns:
    for key in ("prompt", "completion"):
        if key not in row:
            raise missing(key, row)
    prompt = _side(row["prompt"], "prompt", "user")
    return Turns(prompt + _side(row["completion"], "completion", "assistant"), [], tools_of(row))


def _side(value: object, place: str, role: str) -> list[Message]:
    """Read a prompt or an answer: a text, or a list of messages."""
    if isinstance(value, list):
        return messages_of(value, place)
    return [Message(role=role, content=text_of(value, place))]


def _preference(row: Row) -> Turns:
    if "preferred_output" in row or "input" in row:
        return read_openai_preference(row)
    for key in ("chosen", "rejected"):
        if key not in row:
            raise missing(key, row)
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    tools = tools_of(row)
    if isinstance(chosen, list) and not isinstance(prompt, list):
        return _implicit(chosen, list_of(rejected, "rejected"), prompt, tools)
    if "prompt" not in row:
        raise missing("prompt", row)
    better = single(_side(chosen, "chosen", "assistant"), "chosen")
    worse = single(_side(rejected, "rejected", "assistant"), "rejected")
    return Turns(_side(prompt, "prompt", "user") + better, worse, tools)


def _implicit(chosen: list[Any], rejected: list[Any], prompt: object, tools: str) -> Turns:
    """Read two conversations whose shared beginning is the prompt, as TRL does.

    Where they share nothing, a `prompt` that is text is what is asked.
    """
    better, worse = messages_of(chosen, "chosen"), messages_of(rejected, "rejected")
    shared = 0
    # An answer is left on both sides, also where both are the same.
    for one, other in zip(better[:-1], worse[:-1], strict=False):
        if one != other:
            break
        shared += 1
    context = better[:shared] if shared or prompt is None else _side(prompt, "prompt", "user")
    after = " after what both share" if shared else ""
    answer = single(better[shared:], f"chosen{after}")
    return Turns(context + answer, single(worse[shared:], f"rejected{after}"), tools)


_READERS: dict[str, Reader] = {
    "chat": read_chat,
    "prompt_completion": _prompt_completion,
    "preference": _preference,
    "gemini": read_gemini,
}
