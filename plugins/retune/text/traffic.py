"""Captured traffic at rest: where its files lie and how a line reads.

Agents write it and the watch reads it; both agree here and only here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime

from pydantic import ValidationError

from retune.errors import DataError, Problem
from retune.records import Exchange

_FILE = re.compile(r"(?P<agent>.+)-(?P<sequence>[0-9]{1,20})\.jsonl")


def exchange_path(pipeline: str, at: datetime, agent: str, sequence: int) -> str:
    """Return a file's path below `settings.captured_url`.

    A file is published whole, under its final name, once its last exchange is in it: readers
    rely on no exchange being later than `at` and `sequence`.

    Args:
        pipeline: Whose traffic the file holds.
        at: When the file is written; gives the day's folder (UTC).
        agent: Who writes it; any character that has no place in a file name becomes `_`.
        sequence: The same moment in nanoseconds since the epoch (`time.time_ns()`).
    """
    day = at.astimezone(UTC).date().isoformat()
    return f"{pipeline}/{day}/{re.sub(r'[^A-Za-z0-9._-]', '_', agent)}-{sequence:020d}.jsonl"


def written_at(name: str) -> datetime | None:
    """Return when a file was written, by its name; None where it is no finished traffic file."""
    match = _FILE.fullmatch(name.rsplit("/", 1)[-1])
    if match is None or name.rsplit("/", 1)[-1].startswith("."):
        return None
    return datetime.fromtimestamp(int(match["sequence"]) / 1e9, UTC)


def folder_day(name: str) -> date | None:
    """Return the day of a day's folder; None where the folder is something else."""
    try:
        return date.fromisoformat(name.rstrip("/").rsplit("/", 1)[-1])
    except ValueError:
        return None


def dump(exchanges: Iterable[Exchange]) -> bytes:
    """Return exchanges as JSON lines; half a surrogate pair, which UTF-8 cannot hold, becomes `?`."""
    lines = (
        json.dumps(exchange.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")) + "\n"
        for exchange in exchanges
    )
    return "".join(lines).encode("utf-8", "replace")


def load(data: bytes, name: str) -> list[Exchange]:
    """Read what `dump` wrote.

    A last line without its newline that cannot be read was cut off by a crash and is left out.

    Args:
        data: The file's bytes.
        name: The file, for the error.

    Raises:
        DataError: Lists every other line that is no exchange.
    """
    lines = data.split(b"\n")
    exchanges: list[Exchange] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        problem = _append(line, exchanges)
        if problem and number < len(lines):
            problems.append(Problem(problem, "remove the line; see who wrote the file", name, number))
    if problems:
        raise DataError(problems)
    return exchanges


def _append(line: bytes, exchanges: list[Exchange]) -> str:
    """Add the line's exchange; return what is wrong with it instead, if anything is."""
    try:
        exchange = Exchange.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        return f"no captured exchange: {place + ': ' if place else ''}{first['msg']}: {line[:60]!r}"
    if exchange.at.tzinfo is None:
        return f"no captured exchange: at: no time zone: {exchange.at.isoformat()!r}"
    exchanges.append(exchange)
    return ""
