"""Finds a person's rows in files of JSON lines, and takes them out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from retune.text.conversations import normalise, read_conversation


class _Named(msgspec.Struct):
    """What of a line says whose it is: canonical rows, answers and dropped rows have one of them."""

    id: str = ""
    subject: str = ""
    prompt: str = ""


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
        return named is not None and (named.id in self.ids or named.subject == self.subject)


@dataclass
class Found:
    """What a file holds of a person."""

    rows: int = 0
    prompts: set[str] = field(default_factory=set)
    """What the rows ask, normalised: captured traffic is compared with it."""


def has_rows(first: bytes) -> bool:
    """Say by its first line whether a file is one of rows, answers or the like."""
    named = _read(first) if first.startswith(b"{") else None
    return named is not None and bool(named.id or named.subject)


def look(lines: Iterable[bytes], rows: Rows) -> Found:
    """Return what the lines hold of a person."""
    found = Found()
    for line in lines:
        if rows.own(line):
            found.rows += 1
            if prompt := normalise(_prompt(line)):
                found.prompts.add(prompt)
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


def _prompt(line: bytes) -> str:
    try:
        return read_conversation(line).prompt
    except ValueError:
        named = _read(line)
        return named.prompt if named else ""
