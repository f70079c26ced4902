"""Sources cut into blocks of rows that several processes can read."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from retune.data import jsonl
from retune.data.rows import BadLine
from retune.data.source import Source, State, changed, state_of, unreadable
from retune.data.tables import read_csv, read_parquet
from retune.errors import DataError, Problem

Item = tuple[int, dict[str, Any]] | BadLine
SIZE = 8 * 1024 * 1024
_ROWS = 20_000
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Some rows of one source.

    Attributes:
        number: Counts all blocks of all sources.
        file: The source's name.
        line: Number of the first line.
        path: The file that holds the lines, where they need not be carried.
        state: That file's, when it was cut.
        offset: Where they begin there.
        size: Their bytes.
        data: The lines, where no file holds them as they are.
        items: Rows that are parsed already.
    """

    number: int
    file: str
    line: int = 1
    path: Path | None = None
    state: State | None = None
    offset: int = 0
    size: int = 0
    data: bytes = b""
    items: list[Item] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[Item, bool]]:
        """Yield each row, and whether its texts are sure to be plain ASCII."""
        yield from ((item, False) for item in self.items)
        for number, line in self.lines():
            yield parse(number, line)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line that is not blank, with its number."""
        for number, line in enumerate(self._lines(), start=self.line):
            if line and not line.isspace():
                yield number, line

    def _lines(self) -> list[bytes]:
        if self.path is None:
            return self.data.split(b"\n")
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise DataError([unreadable(self.file, error)]) from error
        with file:
            if state_of(os.fstat(file.fileno())) != self.state:
                raise changed(self.file)
            file.seek(self.offset)
            return file.read(self.size).split(b"\n")


def parse(number: int, line: bytes) -> tuple[Item, bool]:
    """Read a line; say too whether its texts are sure to be plain ASCII."""
    value = jsonl.parse_line(line, number)
    return (value, False) if isinstance(value, BadLine) else ((number, value), jsonl.is_plain(line))


def cut(
    sources: Iterable[Source], needed: Collection[str], on_digest: Callable[[str, str], None]
) -> Iterator[Block]:
    """Yield the sources' rows in blocks.

    Args:
        sources: The files.
        needed: Columns without which no row is of use.
        on_digest: Takes a source's name and the digest of its bytes, once it has been read.

    Raises:
        DataError: Files cannot be read, are damaged, or changed while they were read; names all of them.
    """
    number = 0
    problems: list[Problem] = []
    for source in sources:

        def done(digest: str, name: str = source.name) -> None:
            on_digest(name, digest)

        try:
            for block in _lines(source, done) if source.format == "jsonl" else _table(source, needed, done):
                yield Block(number, source.name, **block)
                number += 1
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)


def _table(source: Source, needed: Collection[str], done: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    if source.format == "csv":
        items = iter(read_csv(source.stream(done), needed))
    else:
        items = iter(read_parquet(source, done))
    while batch := list(islice(items, _ROWS)):
        yield {"items": batch}


def _lines(source: Source, done: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Cut at line feeds; a plain local file is read by whoever takes the block."""
    where = {"path": source.local, "state": source.state()} if source.local and not source.compression else {}
    carried = bytearray()
    line, offset, lost = 1, 0, False
    for number, data in enumerate(source.stream(done)):
        if number == 0 and data.startswith(_BOM):
            data, offset = data[len(_BOM) :], len(_BOM)
        if lost:
            continue
        carried += data
        end = carried.rfind(b"\n") + 1 if len(carried) >= SIZE else 0
        if end:
            block = bytes(carried[:end])
            yield {"line": line, **(where or {"data": block}), "offset": offset, "size": end}
            line, offset = line + block.count(b"\n"), offset + end
            del carried[:end]
        elif len(carried) > SIZE + jsonl.LONGEST:
            yield {"items": [_boundless(line)]}
            lost = True
    if carried and not lost:
        yield {"line": line, **(where or {"data": bytes(carried)}), "offset": offset, "size": len(carried)}


def _boundless(line: int) -> BadLine:
    what = f"longer than {jsonl.LONGEST / 1e6:.0f} MB; the rest of the file was not read"
    return BadLine(line, what, "part the file by line feeds: one JSON object a line")
