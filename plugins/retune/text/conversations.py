"""Conversations: the rows of a canonical dataset file."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from retune.artifacts import canonical_json
from retune.errors import DataError, Problem


@dataclass(frozen=True)
class Message:
    """One turn: `role` is system, user or assistant."""

    role: str
    content: str

    def to_json(self) -> dict[str, str]:
        """Return the turn as a chat API takes it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Conversation:
    """One example: what is asked, and the answer to learn.

    Attributes:
        id: 64 hex digits over the normalised prompt and the completion. The system prompt is
            left out: rewording it does not make an example new.
        messages: The turns; the last one is the assistant's.
    """

    id: str
    messages: tuple[Message, ...]

    @property
    def prompt(self) -> str:
        """The last user message."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")

    @property
    def completion(self) -> str:
        """The assistant's last message: the answer to learn."""
        return self.messages[-1].content

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the normalised prompt alone.

        A relabelled example has another id and the same fingerprint, so splits go by this: a
        held-out question stays held out whatever its answer becomes.
        """
        return hashlib.sha256(canonical_json([normalise(self.prompt)])).hexdigest()

    @property
    def context(self) -> tuple[Message, ...]:
        """All that a model is shown before it answers."""
        return self.messages[:-1]


def normalise(text: str) -> str:
    """Return the text in Unicode NFC with every run of white space as one space, none outside.

    Two prompts that are equal after this are the same prompt.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def conversation(system: str, prompt: str, completion: str) -> Conversation:
    """Make an example; white space around prompt and completion is left out.

    Args:
        system: The system prompt; no such turn where it is empty.
        prompt: What the user asks.
        completion: The answer to learn.
    """
    completion = completion.strip()
    name = hashlib.sha256(canonical_json([normalise(prompt), completion])).hexdigest()
    turns = [Message("user", prompt.strip()), Message("assistant", completion)]
    return Conversation(name, tuple([Message("system", system), *turns] if system else turns))


def write_conversations(rows: Iterable[Conversation]) -> bytes:
    """Return the canonical file: one row a line, compact, keys sorted, in the order given."""
    return b"".join(
        canonical_json({"id": row.id, "messages": [turn.to_json() for turn in row.messages]}) + b"\n"
        for row in rows
    )


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
            rows.append(_row(line))
        except (ValueError, KeyError, TypeError) as error:
            what = f"not a conversation: {type(error).__name__}: {error}"
            problems.append(Problem(what, "prepare the dataset again", "dataset", number))
    if problems:
        raise DataError(problems)
    return rows


def _row(line: bytes) -> Conversation:
    value = json.loads(line)
    turns = tuple(Message(str(turn["role"]), str(turn["content"])) for turn in value["messages"])
    roles = [turn.role for turn in turns]
    if "user" not in roles or roles[-1] != "assistant":
        raise ValueError(f"the turns are {roles}, not a question and its answer")
    return Conversation(str(value["id"]), turns)
