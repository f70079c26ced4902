"""What a source file holds: rows, and lines that cannot become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SourceRow:
    """One row as it stands in a source file.

    Attributes:
        file: The source, as problems and `Dataset.sources` name it.
        line: Where the row begins, 1-based; in Parquet the row's number.
        values: Column -> value; a CSV's empty field is None.
    """

    file: str
    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class BadLine:
    """A line that cannot become a row.

    Attributes:
        line: Where it begins, 1-based.
        what: What is wrong, with the value seen.
        action: What to do next.
    """

    line: int
    what: str
    action: str
