"""The short way of plain chats through intake: most rows, at a third of the cost.

A row is plain where it holds nothing but system, user and assistant turns in order, each a role and
a text of plain ASCII, none empty. Of any other the longer way in `intake` takes care, and for a
plain row both ways come to the same.
"""

from __future__ import annotations

import zlib
from collections import Counter
from functools import cache
from typing import Any, Literal

import msgspec

from retune.data import jsonl
from retune.data.spool import Segment
from retune.spec.data import Data
from retune.text import privacy
from retune.text.conversations import Conversation, Message, hash_of, normalise, write_conversation
from retune.text.roles import in_order


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant"]
    content: str


class _Chat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Turn]


_decoder = msgspec.json.Decoder(_Chat)


def fits(data: Data, columns: tuple[str, ...]) -> bool:
    """Say whether a source of this kind may hold plain rows: chats of which no other column is needed."""
    return data.format == "chat" and not data.named_columns and not columns


class PlainChats:
    """Takes plain rows one by one.

    Args:
        data: The spec's section.
        labelled: Whether the answer is a label.
        segment: Takes the conversations.
        personal: Counts the personal data by kind.
    """

    def __init__(self, data: Data, labelled: bool, segment: Segment, personal: Counter[str]) -> None:
        self._privacy, self._labelled = data.privacy, labelled
        self._system = Message(role="system", content=data.system_prompt) if data.system_prompt else None
        self._segment, self._personal = segment, personal
        self.cleaned = 0

    def take(self, number: int, line: bytes) -> tuple[Any, ...] | None:
        """Return the row of intake's table; None where the line is not plain.

        Args:
            number: The line's number.
            line: Its bytes.
        """
        if len(line) > jsonl.LONGEST or not jsonl.is_plain(line):
            return None
        try:
            turns = _decoder.decode(line).messages
        except (ValueError, RecursionError):
            return None
        # Each key is followed by a colon: with more of them a key may stand twice, and which one counts?
        if line.count(b":") != 1 + 2 * len(turns):
            return None
        roles = tuple([turn.role for turn in turns])
        if not _alternate(roles):
            return None
        raw = [turn.content for turn in turns]
        texts = [text.strip() for text in raw]
        if not all(texts):
            return None
        changed = texts != raw
        if self._privacy != "allow":
            texts, found = privacy.redact(texts)
            if found and self._privacy == "reject":
                return None
            self._personal.update(found)
        self.cleaned += changed
        return self._add(number, roles, texts)

    def _add(self, number: int, roles: tuple[str, ...], texts: list[str]) -> tuple[Any, ...]:
        messages = [Message(role=role, content=text) for role, text in zip(roles, texts, strict=True)]
        asked = [_normalised(turn.content) for turn in messages[:-1] if turn.role != "system"]
        name, fingerprint = hash_of([*asked, texts[-1]]), hash_of(asked)
        if self._system and roles[0] != "system":
            messages.insert(0, self._system)
        text = write_conversation(Conversation(name, tuple(messages)))
        place, size = self._segment.add(text)
        label = texts[-1] if self._labelled else ""
        judged = (True, True, len(roles), len(texts[-2]), len(texts[-1]), label)
        names_of = (name, fingerprint, label, "", "", 0.0, "")
        return (number, None, None, None, "", *judged, *names_of, place, size, zlib.crc32(text))


def _normalised(text: str) -> str:
    r"""Return what `normalise` does; a plain text holds no white space but spaces, \n and \t."""
    line = text.replace("\n", " ")
    return normalise(line) if "\t" in line or "  " in line else line


@cache
def _alternate(roles: tuple[str, ...]) -> bool:
    """Say whether turns follow each other as providers ask, and the last one is the answer."""
    turns = [Message(role=role, content="") for role in roles]
    return "user" in roles and roles[-1] == "assistant" and in_order(turns)
