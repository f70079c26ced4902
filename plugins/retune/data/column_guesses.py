"""What the columns of a file are likely for, by their names and their values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retune.errors import DataError

Row = Mapping[str, Any]

_PROMPTS = (
    "prompt instruction question query text message input utterance request ticket sentence body content "
    "description subject title user source"
).split()
_ANSWERS = (
    "completion answer response output label category intent class target queue topic reply label_text "
    "sentiment assistant destination"
).split()
_PERSON = (
    r"(customer|user|client|member|patient|student|employee|person|subject|account|author|sender|caller)"
)
_PERSONS = re.compile(rf"{_PERSON}s?(_?(id|no|nr|number|key|uuid|ref|email|name))?")
_GROUPS = re.compile(
    r"(session|conversation|thread|dialogu?e|document|doc|company|organi[sz]ation|tenant|household|device|"
    r"order|article|episode)s?_?(id|no|nr|number|key|uuid|ref)"
)
_TIMES = re.compile(r"(.*_)?(time|date|datetime|timestamp|ts|at|on|day|created|updated|sent|received)")
_LEAST_GROUPS = 20
_LARGEST_GROUP = 0.2


@dataclass(frozen=True)
class Column:
    """A column of the rows looked at.

    Attributes:
        name: As it stands in the file.
        rows: How many rows were looked at.
        values: Those that are neither missing nor empty.
    """

    name: str
    rows: int
    values: Sequence[Any]

    @property
    def plain(self) -> str:
        """The name as it is compared."""
        return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()).strip(
            "_"
        )

    @property
    def is_text(self) -> bool:
        """Whether it holds text and nothing else."""
        return bool(self.values) and all(isinstance(value, str) for value in self.values)

    @property
    def filled(self) -> float:
        """Share of the rows that have a value."""
        return len(self.values) / self.rows

    @property
    def mean(self) -> float:
        """Mean length of the texts."""
        return sum(map(len, self.values)) / len(self.values)


@dataclass(frozen=True)
class Found:
    """A column that was chosen, and why."""

    column: Column
    why: str


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Return all columns that some row has, in the order in which they first stand."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            kept = values.setdefault(name, [])
            if value is not None and value != "":
                kept.append(value)
    return [Column(name, len(rows), kept) for name, kept in values.items()]


def conversation_columns(columns: Iterable[Column]) -> tuple[Found, Found]:
    """Choose the columns of the prompt and of the completion.

    Args:
        columns: Those that have no other use.

    Raises:
        DataError: There are not two columns of text.
    """
    texts = [column for column in columns if column.is_text and column.filled >= 0.5]
    if len(texts) < 2:
        names = ", ".join(repr(column.name) for column in texts) or "none"
        action = "write the spec by hand, or rename the columns to prompt and completion"
        raise DataError(f"no two columns hold text that is asked and answered: {names:.200}", action)
    answer = _by_name(texts, _ANSWERS)
    asked = _by_name([one for one in texts if answer is None or one is not answer.column], _PROMPTS)
    if answer is None:
        rest = [one for one in texts if asked is None or one is not asked.column]
        answer = _answer_by_values(rest)
    if asked is None:
        rest = [one for one in texts if one is not answer.column]
        longest = max(rest, key=lambda one: one.mean)
        asked = Found(longest, f"the longest texts, {longest.mean:.0f} characters in the mean")
    return asked, answer


def _by_name(columns: Iterable[Column], names: Sequence[str]) -> Found | None:
    named = [one for one in columns if one.plain in names]
    if not named:
        return None
    first = min(named, key=lambda one: names.index(one.plain))
    return Found(first, f"by its name; {first.mean:.0f} characters in the mean")


def _answer_by_values(columns: Sequence[Column]) -> Found:
    """Choose the last column of few different texts, or else the longest texts."""
    for column in reversed(columns):
        different = len(set(column.values))
        if 2 <= different <= len(column.values) / 10:
            return Found(column, f"{different} different texts in {len(column.values):,} rows")
    longest = max(columns, key=lambda one: one.mean)
    return Found(longest, f"the longest other texts, {longest.mean:.0f} characters in the mean")


def subject_column(columns: Iterable[Column]) -> Found | None:
    """Choose the column that says whom a row is about."""
    for column in columns:
        if _PERSONS.fullmatch(column.plain) and _are_names(column):
            return Found(column, f"by its name; {len(set(column.values)):,} different values")
    return None


def group_column(columns: Iterable[Column]) -> Found | None:
    """Choose the column whose equal values must stay on one side: a person's, or a session's rows."""
    found = []
    for column in columns:
        person = bool(_PERSONS.fullmatch(column.plain))
        if not (person or _GROUPS.fullmatch(column.plain)) or not _are_names(column):
            continue
        counts = Counter(column.values)
        repeats = len(counts) < len(column.values)
        if repeats and len(counts) >= _LEAST_GROUPS and max(counts.values()) <= _LARGEST_GROUP * column.rows:
            why = f"{len(counts):,} different values in {len(column.values):,} rows"
            found.append((not person, Found(column, why)))
    return min(found, key=lambda one: one[0])[1] if found else None


def _are_names(column: Column) -> bool:
    """Say whether nearly every row has one, a short text or a whole number."""
    short = all(
        (isinstance(value, str) and len(value) <= 100)
        or (isinstance(value, int) and not isinstance(value, bool))
        for value in column.values
    )
    return short and column.filled >= 0.95


def time_column(columns: Iterable[Column]) -> Found | None:
    """Choose the column that says when a row arose: every row must have a time there."""
    for column in columns:
        if column.filled == 1 and _TIMES.fullmatch(column.plain):
            times = [_seconds(value) for value in column.values]
            if None not in times:
                order = sorted(zip(times, map(str, column.values), strict=True))
                return Found(column, f"from {order[0][1]:.40} to {order[-1][1]:.40}")
    return None


def _seconds(value: object) -> float | None:
    """Return a time in seconds since 1970; None where it is none, or of no year that data are from."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        try:
            seconds = datetime.fromisoformat(str(value)).timestamp()
        except (ValueError, OverflowError):
            return None
    return seconds if seconds is not None and 1e8 < seconds < 1e10 else None
