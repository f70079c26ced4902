"""A person's own JSONL of a few lines: whatever is wrong with it is named with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from retune.errors import DataError, Problem

Row = TypeVar("Row")


def read_lines(path: Path, make: Callable[[bytes], Row], *, form: str, instead: str) -> list[Row]:
    """Read a file line by line; empty ones are passed over.

    Args:
        path: The file.
        make: Makes a row of a line; raises ValueError, which says why, where it is none.
        form: What a line must be, for whoever mends one.
        instead: What to do where there shall be no such file.

    Raises:
        DataError: Names every line that is no row, or says that the file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", f"put the file there, or {instead}") from None
    rows, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(make(line))
        except ValueError as error:
            problems.append(Problem(str(error), form, str(path), number))
    if problems:
        raise DataError(problems)
    return rows
