"""A source row as a conversation, before cleaning and naming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from retune.text.conversations import Function, Message, ToolCall
from retune.text.roles import in_order

_encoder = msgspec.json.Encoder(order="sorted")


class ShapeError(ValueError):
    """A row cannot be represented as a conversation.

    Args:
        what: The place in the row and the value seen.
        action: What to do about it.
    """

    def __init__(self, what: str, action: str) -> None:
        super().__init__(what, action)
        self.what, self.action = what, action

    def __str__(self) -> str:
        return f"{self.what} -> {self.action}"


class Turns(NamedTuple):
    """A row as a conversation.

    Attributes:
        messages: The turns; in a preference they end with the better answer.
        rejected: The worse answer of a preference, one turn; else empty.
        tools: Definitions of the tools that may be called, as canonical JSON; empty if there are none.
    """

    messages: list[Message]
    rejected: list[Message]
    tools: str


def seen(value: object) -> str:
    """Return a value as problems show it: short, with its type."""
    return "null" if value is None else f"{value!r:.60} ({type(value).__name__})"


def keys_of(row: Mapping[Any, Any]) -> str:
    """Return an object's first keys as problems show them."""
    keys = ", ".join(str(key) for key in list(row)[:10]) or "nothing"
    # A problem that holds half of a surrogate pair could not be printed.
    return keys[:200].encode("utf-8", "backslashreplace").decode()


def encodable(text: str) -> bool:
    """Return whether UTF-8 can hold a text: half of a surrogate pair it cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _half(place: str) -> ShapeError:
    return ShapeError(f"{place} holds half of a surrogate pair", "write the character itself")


def text_of(value: object, place: str) -> str:
    """Return a value that must be text; None is the empty text.

    Args:
        value: What the row holds.
        place: Where, as the problem names it.

    Raises:
        ShapeError: It is something else, or UTF-8 cannot hold it.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ShapeError(f"{place} is {seen(value)}, not text", "write it as a string")
    if not encodable(value):
        raise _half(place)
    return value


def json_text(value: object, place: str) -> str:
    """Return a value as canonical JSON.

    Raises:
        ShapeError: JSON or UTF-8 cannot hold it.
    """
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        raise _half(place) from None
    except (TypeError, RecursionError, ValueError) as error:
        raise ShapeError(f"{place} is no JSON value: {error}", "write plain JSON") from None


def list_of(value: object, place: str) -> list[Any]:
    """Return a value that must be a list with something in it.

    Raises:
        ShapeError: It is not.
    """
    if not isinstance(value, list):
        raise ShapeError(f"{place} is {seen(value)}, not a list", "write a list")
    if not value:
        raise ShapeError(f"{place} is empty", "write at least one, or take the row out")
    return value


def object_of(value: object, place: str) -> dict[str, Any]:
    """Return a value that must be an object.

    Raises:
        ShapeError: It is not.
    """
    if not isinstance(value, dict):
        raise ShapeError(f"{place} is {seen(value)}, not an object", "write an object")
    return value


def single(answer: list[Message], place: str) -> list[Message]:
    """Return one of two answers that are compared, which must be one turn.

    A conversation says of its last turn only that it is the answer: of longer ones nobody could
    tell where they begin, and providers compare single turns anyway.

    Raises:
        ShapeError: It is several turns.
    """
    if len(answer) != 1:
        action = "compare two single answers: what both share belongs to the prompt"
        raise ShapeError(f"{place} is {len(answer)} turns, not one", action)
    return answer


def texts_of(turns: Turns) -> list[str]:
    """Return every text that a person may have written, in the order in which `with_texts` takes them.

    These are contents, the arguments of tool calls, and the names of speakers; names of tools are not.
    """
    texts = []
    for message in (*turns.messages, *turns.rejected):
        texts.append(message.content)
        if message.name and message.role != "tool":
            texts.append(message.name)
        for call in message.tool_calls:
            texts.append(call.function.arguments)
    return texts


def with_texts(turns: Turns, texts: Sequence[str]) -> Turns:
    """Return the same turns with other texts, in the order in which `texts_of` gives them.

    Raises:
        ValueError: There are more or fewer texts than `texts_of` gives.
    """
    following = iter(texts)
    try:
        messages = [_with(message, following) for message in turns.messages]
        rejected = [_with(message, following) for message in turns.rejected]
    except StopIteration:
        raise ValueError(f"{len(texts)} texts are fewer than the turns hold") from None
    if next(following, None) is not None:
        raise ValueError(f"{len(texts)} texts are more than the turns hold")
    return Turns(messages, rejected, turns.tools)


def _with(message: Message, texts: Iterator[str]) -> Message:
    content = next(texts)
    if not message.name and not message.tool_calls:
        if content == message.content:
            return message
        return Message(
            role=message.role, content=content, tool_call_id=message.tool_call_id, weight=message.weight
        )
    name = next(texts) if message.name and message.role != "tool" else message.name
    # A list, for inside a generator a missing text would be a RuntimeError.
    calls = [
        ToolCall(Function(next(texts), call.function.name), call.id, call.type) for call in message.tool_calls
    ]
    return msgspec.structs.replace(message, content=content, name=name, tool_calls=tuple(calls))


def roles_in_order(turns: Turns) -> bool:
    """Return whether roles follow each other as providers ask.

    A rejected answer goes on where the better one does.
    """
    return in_order(turns.messages) and (not turns.rejected or in_order(turns.rejected, before="user"))


def ends_with_assistant(turns: Turns) -> bool:
    """Return whether the last turn, and that of a rejected answer, is the assistant's."""
    answers = [turns.messages, turns.rejected] if turns.rejected else [turns.messages]
    return all(part and part[-1].role == "assistant" for part in answers)
