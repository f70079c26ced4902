"""Rows of the two table formats, CSV and Parquet, in bounded memory."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.data.rows import BadLine

if TYPE_CHECKING:
    import pyarrow

    from retune.data.source import Source

MOST_COLUMNS = 10_000
MOST_FIELD = 10_000_000
"""Characters of a CSV's field."""
MOST_LINE = 64 << 20
"""Bytes of a CSV's line."""
_BATCH_BYTES = 8 << 20
_STOPPED = "the rest of the file was not read"

Read = Iterator[tuple[int, dict[str, Any]] | BadLine]


def not_utf8(line: int, error: UnicodeDecodeError) -> BadLine:
    """Say which byte of a line is not UTF-8."""
    return BadLine(line, f"not UTF-8: byte 0x{error.object[error.start]:02x}", "save the file as UTF-8")


def read_csv(blocks: Iterable[bytes], needed: Collection[str] = ()) -> Read:
    """Read CSV (RFC 4180: commas, double quotes, a header) strictly.

    Lines end with LF or CRLF; a field in quotes may hold any character but NUL. What costs the
    parser its place (an open quote, a bare CR, a boundless field) ends the reading, as what follows
    could be read as other rows than were written.

    Args:
        blocks: The file's bytes, in pieces of any size.
        needed: Columns without which no row is of use.

    Yields:
        The line where a record begins and its values (an empty field is None), or what is wrong.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MOST_FIELD))
    lines = _Lines(blocks)
    records = _records(lines)
    header: list[str] = []
    for record in records:
        if isinstance(record, BadLine):
            yield record
            continue
        line, fields = record
        if header:
            flaw = _row_flaw(fields, header)
            values = {} if flaw else {key: field or None for key, field in zip(header, fields, strict=True)}
            yield BadLine(line, *flaw) if flaw else (line, values)
            continue
        header = fields
        if header_flaw := _header_flaw(header, needed):
            yield BadLine(line, *header_flaw)
            return


class _Lines:
    """The text of each line with its end; keeps bytes that are not UTF-8 as lone surrogates.

    So the parser keeps its place in the quoting also where a byte is bad.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self.flaws: list[BadLine] = []

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(_split(self._blocks), start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                self.flaws.append(not_utf8(number, error))
                yield line.decode(errors="surrogateescape")


def _split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines with their LF; one that is too long ends as a csv.Error."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        start = 0
        while end := block.find(b"\n", start) + 1:
            parts.append(block[start:end])
            yield b"".join(parts)
            parts, size, start = [], 0, end
        parts.append(block[start:])
        size += len(block) - start
        if size > MOST_LINE:
            raise csv.Error(f"a line is longer than {MOST_LINE >> 20} MiB")
    if size:
        yield b"".join(parts)


def _records(lines: _Lines) -> Iterator[tuple[int, list[str]] | BadLine]:
    """Yield records with the line where they begin; blank lines are none."""
    reader = csv.reader(lines, strict=True)
    begins = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield from lines.flaws
            yield BadLine(begins, *_lost(error))
            return
        if lines.flaws:
            yield from lines.flaws
            lines.flaws.clear()
            if begins == 1:  # no header, no columns
                return
        elif fields:
            yield begins, fields
        begins = reader.line_num + 1


def _lost(error: csv.Error) -> tuple[str, str]:
    """Say why the parser cannot go on."""
    said = str(error)
    if "new-line character" in said:
        return f"invalid CSV: a bare CR; {_STOPPED}", "end lines with LF or CRLF, and quote fields with a CR"
    if "field larger" in said:
        return (
            f"invalid CSV: a field is longer than {MOST_FIELD:,} characters; {_STOPPED}",
            "close the quote that is left open, or shorten the field",
        )
    if "unexpected end" in said:
        return "invalid CSV: a quote is left open until the end of the file", "mend the quoting"
    return f"invalid CSV: {said}; {_STOPPED}", "mend the quoting"


def _row_flaw(fields: list[str], header: list[str]) -> tuple[str, str] | None:
    if len(fields) != len(header):
        what = f"has {len(fields)} fields, the header {len(header)}"
        return what, "quote fields that hold commas"
    for name, field in zip(header, fields, strict=True):
        if "\0" in field:
            return f"column {name!r} holds a NUL", "write the file again as text"
        if len(field) > MOST_FIELD:
            return f"column {name!r} holds more than {MOST_FIELD:,} characters", "shorten the field"
    return None


def _header_flaw(header: list[str], needed: Collection[str]) -> tuple[str, str] | None:
    if len(header) > MOST_COLUMNS:
        return f"the header names {len(header):,} columns", f"keep at most {MOST_COLUMNS:,}"
    if any("\0" in name for name in header):
        return "the header holds a NUL", "write the file again as text"
    missing = [name for name in needed if name not in header]
    if missing:
        seen = ", ".join(header[:10])
        return f"column {missing[0]!r} is missing; the header has {seen}", "mend the header or data.columns"
    return _names_flaw(header, "the header")


def _names_flaw(names: list[str], where: str) -> tuple[str, str] | None:
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        return f"{where} names a column twice: {', '.join(twice[:10])}", "keep one"
    if "" in names:
        return f"{where} has no name for column {names.index('') + 1}", "name it, or take it out"
    return None


def read_parquet(source: Source, on_digest: Callable[[str], None]) -> Read:
    """Read Parquet in batches of about 8 MiB.

    Values become what JSON has: text, numbers, booleans, lists, objects. Dates and times are ISO
    8601 text, durations seconds, decimals numbers, maps objects, bytes text where they are UTF-8.
    NaN is None, as pandas writes what is missing as NaN.

    Args:
        source: The file; one that is not local is copied to disk first.
        on_digest: Takes the digest of the file's bytes once it has been read.

    Yields:
        The row's number, 1-based, and its values, or what is wrong; a broken file ends in one.

    Raises:
        DataError: The file cannot be read at all, or it changed while it was read.
    """
    with source.on_disk(on_digest) as path:
        yield from _parquet_rows(path)


def _parquet_rows(path: Path) -> Read:
    import pyarrow
    import pyarrow.parquet

    read = 0
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            flaw = _names_flaw(names, "the schema")
            if len(names) > MOST_COLUMNS:
                flaw = f"the schema names {len(names):,} columns", f"keep at most {MOST_COLUMNS:,}"
            if flaw:
                yield BadLine(1, *flaw)
                return
            for batch in file.iter_batches(_batch_rows(file.metadata), use_threads=False):
                yield from _batch(batch, read + 1)
                read += batch.num_rows
            if read != file.metadata.num_rows:
                raise ValueError(f"it holds {read:,} rows of {file.metadata.num_rows:,}")
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        yield BadLine(read + 1, f"cannot be read as Parquet: {said}; {_STOPPED}", "write the file again")


def _batch_rows(metadata: pyarrow.parquet.FileMetaData) -> int:
    """Rows of a batch, by the mean size of a row where it is largest."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    size = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return int(min(max(_BATCH_BYTES // max(size, 1), 1), 4096))


def _batch(batch: pyarrow.RecordBatch, first: int) -> Read:
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        # One value that Python cannot hold spoils the batch: find its row.
        rows = [None] * batch.num_rows
    for index, row in enumerate(rows):
        try:
            values = batch.slice(index, 1).to_pylist()[0] if row is None else row
            yield first + index, {name: _plain(value) for name, value in values.items()}
        except (ValueError, OverflowError) as error:
            yield BadLine(first + index, f"holds a value that is no text or number: {error}", "mend the row")


def _plain(value: Any) -> Any:
    """Return a value of Arrow's as JSON has it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        # Arrow gives a map as a list of pairs.
        if value and all(isinstance(item, tuple) for item in value):
            return _object([(_plain(key), _plain(item)) for key, item in value])
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat() if value == value else None
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if hasattr(value, "as_integer_ratio"):  # Decimal
        return float(value)
    return str(value)


def _object(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = {str(key): value for key, value in pairs}
    if len(found) < len(pairs):
        keys = [str(key) for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return found
