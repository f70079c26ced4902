"""Source files: which ones, and the rows they hold."""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.artifacts import digest_of
from retune.errors import DataError, Problem
from retune.settings import Settings
from retune.spec import Columns, PipelineSpec

SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class SourceRow:
    """One row as it stands in a source file.

    Attributes:
        file: The source, as problems and `Dataset.sources` name it.
        line: Where the row begins, 1-based.
        values: Column -> value; a CSV's empty field is None.
    """

    file: str
    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """All source rows, and the digest of every file's bytes."""

    rows: list[SourceRow]
    digests: dict[str, str]


class _BadLine(ValueError):
    """A line that cannot become a row."""

    def __init__(self, line: int, what: str, action: str) -> None:
        super().__init__(what)
        self.line, self.what, self.action = line, what, action


def read_sources(spec: PipelineSpec, settings: Settings) -> Sources:
    """Read every row of the spec's sources.

    Raises:
        DataError: Names every bad line of every file (the first 20 and the count of the rest).
    """
    problems: list[Problem] = []
    rows: list[SourceRow] = []
    digests: dict[str, str] = {}
    for name, path in find_sources(spec.data.sources, settings.project).items():
        try:
            data = path.read_bytes()
        except OSError as error:
            problems.append(Problem(f"cannot be read: {error}", "check the path", name))
            continue
        digests[name] = digest_of(data)
        found = len(rows)
        flawed = len(problems)
        for item in _rows_of(name, data, spec.data.columns):
            if isinstance(item, SourceRow):
                rows.append(item)
            else:
                problems.append(Problem(item.what, item.action, name, item.line))
        if len(rows) == found and len(problems) == flawed:
            problems.append(Problem("holds no row", "add rows, or take it out of data.sources", name))
    if problems:
        raise DataError(shorten(problems))
    return Sources(rows, digests)


def shorten(problems: list[Problem]) -> list[Problem]:
    """Return the first problems and, where there are more, how many."""
    more = len(problems) - SHOWN_PROBLEMS
    rest = [Problem(f"and {more} more problems", "mend these first")] if more > 0 else []
    return problems[:SHOWN_PROBLEMS] + rest


def find_sources(patterns: tuple[str, ...], project: Path) -> dict[str, Path]:
    """Return the files that the patterns name: name -> path, sorted by name.

    A relative pattern stays inside the project, also through links. An absolute one is the spec
    author's explicit word and is followed.

    Raises:
        DataError: A file is missing, lies outside the project, or there is none at all.
    """
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for pattern in patterns:
        if ".." in Path(pattern).parts:
            problems.append(
                Problem(f"data.sources: {pattern!r} has a '..'", "name a path inside the project")
            )
            continue
        matches = sorted(glob.glob(str(project / pattern), recursive=True))
        paths = [Path(match) for match in matches if Path(match).is_file()]
        if not paths and not glob.has_magic(pattern):
            problems.append(Problem(f"data.sources: no file {pattern!r} in {project}", "check the path"))
        for path in paths:
            if not Path(pattern).is_absolute() and not path.resolve().is_relative_to(project.resolve()):
                what = f"data.sources: {path.relative_to(project)} is a link out of the project"
                problems.append(Problem(what, "put the file itself there, or name it by its absolute path"))
                continue
            inside = path.is_relative_to(project)
            found[path.relative_to(project).as_posix() if inside else str(path)] = path
    if not found and not problems:
        problems.append(Problem(f"data.sources: no file matches {', '.join(patterns)}", "add a file"))
    if problems:
        raise DataError(problems)
    return dict(sorted(found.items()))


def _rows_of(name: str, data: bytes, columns: Columns) -> Iterator[SourceRow | _BadLine]:
    readers: dict[str, Callable[[bytes, Columns], Iterator[tuple[int, dict[str, Any]] | _BadLine]]]
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".csv": _read_csv}
    reader = readers.get(Path(name).suffix.lower())
    if reader is None:
        yield _BadLine(1, f"{Path(name).suffix or 'no suffix'} is not a known format", "use .jsonl or .csv")
        return
    for item in reader(data.removeprefix(b"\xef\xbb\xbf"), columns):
        if isinstance(item, _BadLine):
            yield item
            continue
        line, values = item
        flaw = _flaw(values, columns)
        yield _BadLine(line, *flaw) if flaw else SourceRow(name, line, values)


def _flaw(values: dict[str, Any], columns: Columns) -> tuple[str, str] | None:
    for column in (columns.prompt, columns.completion):
        if column not in values:
            seen = ", ".join(list(values)[:10]) or "nothing"
            return f"column {column!r} is missing; the row has {seen}", "mend the row or data.columns"
        value = values[column]
        if value is not None and not isinstance(value, str):
            kind = type(value).__name__
            return f"column {column!r} is {value!r:.60} ({kind}), not text", "write it as a string"
        if value and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return f"column {column!r} holds half of a surrogate pair", "write the character itself"
    return None


def _read_jsonl(data: bytes, columns: Columns) -> Iterator[tuple[int, dict[str, Any]] | _BadLine]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
        except UnicodeDecodeError as error:
            yield _not_utf8(number, error)
        except (ValueError, RecursionError) as error:
            yield _BadLine(number, f"invalid JSON: {error}", "mend the line: one JSON object a line")
        else:
            if isinstance(value, dict):
                yield number, value
            else:
                kind = type(value).__name__
                yield _BadLine(number, f"is a JSON {kind}, not an object", "one JSON object a line")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers disagree on which of two equal keys counts, so neither does.
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _not_utf8(number: int, error: UnicodeDecodeError) -> _BadLine:
    what = f"not UTF-8: byte 0x{error.object[error.start]:02x}"
    return _BadLine(number, what, "save the file as UTF-8")


def _read_csv(data: bytes, columns: Columns) -> Iterator[tuple[int, dict[str, Any]] | _BadLine]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        yield _not_utf8(data.count(b"\n", 0, error.start) + 1, error)
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        flaw = _header_flaw(header, columns)
        if header and flaw:
            yield _BadLine(1, *flaw)
            return
        line = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(header):
                what = f"has {len(fields)} fields, the header {len(header)}"
                yield _BadLine(line, what, "quote fields that hold commas")
            elif fields:
                yield line, {key: field or None for key, field in zip(header, fields, strict=True)}
            line = reader.line_num + 1
    except csv.Error as error:
        # Quoting is lost from here on: later rows cannot be told apart.
        yield _BadLine(line, f"invalid CSV: {error}", "mend the quoting")


def _header_flaw(header: list[str], columns: Columns) -> tuple[str, str] | None:
    missing = [name for name in (columns.prompt, columns.completion) if name not in header]
    if missing:
        seen = ", ".join(header[:10])
        return f"column {missing[0]!r} is missing; the header has {seen}", "mend the header or data.columns"
    if len(set(header)) < len(header):
        return f"the header names a column twice: {', '.join(header)}", "keep one"
    return None
