"""Conversations: the rows of a canonical dataset file."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

from retune.errors import DataError, Problem

# Fields stand in the order of their names, so that the encoder writes canonical JSON.


class Function(msgspec.Struct, frozen=True):
    """What a tool call asks for; `arguments` is JSON as text, as providers have it."""

    arguments: str
    name: str


class ToolCall(msgspec.Struct, frozen=True):
    """A call of a tool that the assistant wants."""

    function: Function
    id: str
    type: str = "function"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of a conversation.

    Attributes:
        content: The text; empty where the turn only calls tools.
        name: Who speaks, where several share a role.
        role: system, user, assistant or tool.
        tool_call_id: Which call a tool's turn answers.
        tool_calls: What the assistant calls.
        weight: 0 where an assistant's turn is not to be learned.
    """

    content: str
    name: str = ""
    role: str
    tool_call_id: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    weight: int = 1

    def to_json(self) -> dict[str, object]:
        """Return the turn as a chat API takes it."""
        found: dict[str, object] = msgspec.to_builtins(self)
        return {"role": found.pop("role"), **found}

    @property
    def text(self) -> str:
        """The content, or where there is none the calls as JSON."""
        return self.content or (msgspec.json.encode(self.tool_calls).decode() if self.tool_calls else "")


class Conversation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One example: what is asked, and the answer to learn.

    Attributes:
        id: 64 hex digits over what is asked, normalised, and what is answered. The system prompt is
            left out: rewording it does not make an example new.
        messages: The turns; the last one is the assistant's.
        rejected: The worse answer, where the example is a preference.
        tools: Definitions of the tools that may be called, JSON as text; empty where there are none.
    """

    id: str
    messages: tuple[Message, ...]
    rejected: tuple[Message, ...] = ()
    tools: str = ""

    @property
    def prompt(self) -> str:
        """The last user message; empty where there is none."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def completion(self) -> str:
        """What the assistant's last message says: the answer to learn."""
        return self.messages[-1].text

    @property
    def fingerprint(self) -> str:
        """64 hex digits over what is asked, normalised, without its answer.

        A relabelled example has another id and the same fingerprint, so splits go by this: a
        held-out question stays held out whatever its answer becomes.
        """
        return hash_of(asked(self.messages))

    @property
    def asked(self) -> str:
        """All that is asked, as one text: what near-duplicates are compared by."""
        return "\n".join(asked(self.messages))

    @property
    def context(self) -> tuple[Message, ...]:
        """All that a model is shown before it answers."""
        return self.messages[:-1]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Conversation)


def normalise(text: str) -> str:
    """Return the text in Unicode NFC with every run of white space as one space, none outside.

    Two prompts that are equal after this are the same prompt.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def asked(messages: Sequence[Message]) -> list[str]:
    """Return the turns before the answer, normalised, without the system prompt."""
    return [normalise(turn.text) for turn in messages[:-1] if turn.role != "system"]


def hash_of(texts: Sequence[str]) -> str:
    """Return 64 hex digits over texts."""
    return hashlib.sha256(_encoder.encode(texts)).hexdigest()


def make(messages: Sequence[Message], rejected: Sequence[Message] = (), tools: str = "") -> Conversation:
    """Name an example by what it holds.

    Args:
        messages: The turns, the answer last.
        rejected: The worse answer of a preference.
        tools: Definitions of tools, JSON as text.
    """
    return make_with_fingerprint(messages, rejected, tools)[0]


def make_with_fingerprint(
    messages: Sequence[Message], rejected: Sequence[Message], tools: str
) -> tuple[Conversation, str]:
    """Name an example as `make` does, and return its fingerprint too, which costs nothing here."""
    names = asked(messages)
    name = hash_of([*names, messages[-1].text, *(turn.text for turn in rejected)])
    return Conversation(name, tuple(messages), tuple(rejected), tools), hash_of(names)


def conversation(system: str, prompt: str, completion: str) -> Conversation:
    """Make an example of one question; white space around prompt and completion is left out.

    Args:
        system: The system prompt; no such turn where it is empty.
        prompt: What the user asks.
        completion: The answer to learn.
    """
    turns = [
        Message(role="user", content=prompt.strip()),
        Message(role="assistant", content=completion.strip()),
    ]
    return make([Message(role="system", content=system), *turns] if system else turns)


def write_conversation(row: Conversation) -> bytes:
    """Return the canonical line: compact, keys sorted, defaults left out, with its line feed."""
    return _encoder.encode(row) + b"\n"


def write_conversations(rows: Iterable[Conversation]) -> bytes:
    """Return the canonical file: one row a line, in the order given."""
    return b"".join(write_conversation(row) for row in rows)


def read_conversation(line: bytes) -> Conversation:
    """Read one line of a canonical file; raises ValueError where it is no conversation."""
    row = _decoder.decode(line)
    roles = [turn.role for turn in row.messages]
    if "user" not in roles or roles[-1] != "assistant":
        raise ValueError(f"the turns are {roles}, not a question and its answer")
    return row


def read_conversations(data: bytes) -> list[Conversation]:
    """Read a canonical file, as `write_conversations` made it.

    Raises:
        DataError: Names every line that is no conversation.
    """
    rows: list[Conversation] = []
    problems: list[Problem] = []
    # Only \n parts rows: str.splitlines would also break at separators inside a message.
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        try:
            rows.append(read_conversation(line))
        except ValueError as error:
            what = f"not a conversation: {type(error).__name__}: {error}"
            problems.append(Problem(what, "prepare the dataset again", "dataset", number))
    if problems:
        raise DataError(problems)
    return rows
