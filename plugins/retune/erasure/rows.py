"""Finds a person's rows in files of JSON lines, and takes them out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from retune.text.conversations import normalise

_HASH = re.compile(rb"[0-9a-f]{64}")


class _Named(msgspec.Struct):
    """What of a line says whose it is, in canonical rows, answers and rows that were left out."""

    id: str = ""
    subject: str = ""
    row: _Named | None | msgspec.UnsetType = msgspec.UNSET
    """The row itself, where the line says why it was left out."""

    @property
    def ids(self) -> set[str]:
        return {self.id, self.row.id} if isinstance(self.row, _Named) else {self.id}


_decoder = msgspec.json.Decoder(_Named)


@dataclass(frozen=True)
class Rows:
    """A person's rows, by name."""

    subject: str
    """The person's hash."""
    ids: frozenset[str]
    """Ids of the rows in datasets."""

    def own(self, line: bytes) -> bool:
        """Say whether a line is one of them."""
        named = _read(line)
        if named is None:
            # Cut off by a crash: the id stands before all that it names, so what can be read is enough.
            return any(
                name.decode() in self.ids or name.decode() == self.subject for name in _HASH.findall(line)
            )
        return named.subject == self.subject or not self.ids.isdisjoint(named.ids)


@dataclass
class Found:
    """What a file holds of a person."""

    rows: int = 0
    prompts: set[str] = field(default_factory=set)
    """What the rows ask, normalised: captured traffic is compared with it."""


def may_have_rows(first: bytes) -> bool:
    """Say by its first line whether a file may be one of rows, answers or the like."""
    if not first.startswith(b"{"):
        return False
    named = _read(first)
    return named is None or bool(named.id or named.subject) or named.row is not msgspec.UNSET


def look(lines: Iterable[bytes], rows: Rows) -> Found:
    """Return what the lines hold of a person."""
    found = Found()
    for line in lines:
        if rows.own(line):
            found.rows += 1
            found.prompts |= {prompt for text in _asked(line) if (prompt := normalise(text))}
    return found


class Without:
    """Iterates over the lines that are not a person's, and hashes all of them on the way."""

    def __init__(self, lines: Iterable[bytes], rows: Rows) -> None:
        self._lines = lines
        self._rows = rows
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self._hash.update(line)
            if not self._rows.own(line):
                yield line

    @property
    def digest(self) -> str:
        """The digest of the lines as they were, once all were read."""
        return "sha256:" + self._hash.hexdigest()


def _read(line: bytes) -> _Named | None:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _asked(line: bytes) -> Iterator[str]:
    """Yield what the person says in a line: every turn of theirs was once a request."""
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        return
    row = said.get("row") or said
    yield str(row.get("prompt", ""))
    for turn in row.get("messages", ()):
        if turn.get("role") == "user":
            yield str(turn.get("content", ""))
