"""What a file of rows is likely to be: its shape, its columns, its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from retune.data.cleaning import clean_text
from retune.data.column_guesses import (
    Column,
    columns_of,
    conversation_columns,
    group_column,
    subject_column,
    time_column,
)
from retune.data.shapes import Reader, ShapeError, Turns, reader_of, texts_of
from retune.errors import DataError
from retune.spec.data import Columns, Data, Shape

HEAD = 5_000
"""Rows that guesses are made from."""
COUNTED = 100_000
"""Rows up to which labels are counted."""

_MOST_LABELS = 500
_LEAST_OF_LABEL = 5
_LONGEST_LABEL = 100
# Keys that a shape's rows have, in the order in which shapes are tried.
_KEYS: tuple[tuple[Shape, tuple[tuple[str, type], ...]], ...] = (
    ("preference", (("chosen", object), ("rejected", object))),
    ("preference", (("input", dict), ("preferred_output", list), ("non_preferred_output", list))),
    ("gemini", (("contents", list),)),
    ("chat", (("messages", list),)),
    ("prompt_completion", (("prompt", object), ("completion", object))),
)
_BESIDE = {"tools", "parallel_tool_calls", "completions", "systemInstruction", "system_instruction", "prompt"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Guess:
    """One thing that was guessed.

    Attributes:
        what: What it is about.
        value: What was guessed.
        why: The evidence.
    """

    what: str
    value: str
    why: str


@dataclass(frozen=True)
class Profile:
    """What a file is likely to be.

    Attributes:
        format: The shape of its rows.
        columns: The columns that `format: columns` needs, and whom a row is about.
        labels: Label -> rows, the frequent ones first; empty where it is no classification.
        rare: Labels of too few rows to learn.
        group: Column whose equal values stay on one side; empty: none.
        time: Column that says when a row arose; empty: none.
        rows: How many rows were read.
        whole: Whether these are all.
        longest: Characters of the longest conversation that was read.
        longest_answer: Characters of the longest answer.
        filled: Column -> share of its rows that have a value, for the columns named here.
        guesses: All of it in words.
    """

    format: Shape
    columns: Columns
    labels: dict[str, int]
    rare: dict[str, int]
    group: str
    time: str
    rows: int
    whole: bool
    longest: int
    longest_answer: int
    filled: dict[str, float]
    guesses: tuple[Guess, ...]


def profile(rows: Iterable[Row]) -> Profile:
    """Guess what rows are.

    Shape and columns are guessed from the first 5,000 rows; labels are counted over 100,000.

    Args:
        rows: As they stand in the sources; no more than 100,001 are taken.

    Raises:
        DataError: There is no row, or nothing that is asked and answered.
    """
    taken = iter(rows)
    head = list(islice(taken, HEAD))
    if not head:
        raise DataError("the data hold no row", "name a file that has some")
    guesses: list[Guess] = []
    shape = _shape(head, guesses)
    columns, side = _columns(head, shape, guesses)
    counts = _count(_chain(head, taken), reader_of(Data(sources=("-",), format=shape, columns=columns)))
    whole = next(taken, None) is None
    labels, rare = _labels(counts, shape, whole, guesses)
    used = (columns.prompt, columns.completion, columns.subject, side["group"])
    return Profile(
        format=shape,
        columns=columns,
        labels=labels,
        rare=rare,
        group=side["group"],
        time=side["time"],
        rows=counts.rows,
        whole=whole,
        longest=counts.longest,
        longest_answer=counts.longest_answer,
        filled={column.name: column.filled for column in columns_of(head) if column.name in used},
        guesses=tuple(guesses),
    )


def _chain(head: Sequence[Row], rest: Iterator[Row]) -> Iterator[Row]:
    yield from head
    yield from islice(rest, COUNTED - len(head))


def _shape(head: Sequence[Row], guesses: list[Guess]) -> Shape:
    for shape, keys in _KEYS:
        count = sum(
            all(isinstance(row.get(key), kind) and row.get(key) is not None for key, kind in keys)
            for row in head
        )
        if count >= 0.9 * len(head):
            names = ", ".join(key for key, _ in keys)
            guesses.append(Guess("format", shape, f"{count:,} of {len(head):,} rows have {names}"))
            return shape
    names = ", ".join(column.name for column in columns_of(head)[:10])
    guesses.append(Guess("format", "columns", f"no known shape; the rows have {names:.200}"))
    return "columns"


def _columns(head: Sequence[Row], shape: Shape, guesses: list[Guess]) -> tuple[Columns, dict[str, str]]:
    """Guess the columns of the conversation and those that say more about it."""
    own = {key for one, keys in _KEYS if one == shape for key, _ in keys} | (
        set() if shape == "columns" else _BESIDE
    )
    columns = [column for column in columns_of(head) if column.name not in own]
    side = {"subject": subject_column(columns), "group": group_column(columns), "time": time_column(columns)}
    named: dict[str, str] = {}
    if shape == "columns":
        aside = {found.column.name for found in side.values() if found}
        asked, answer = conversation_columns(one for one in columns if one.name not in aside)
        for what, found in (("prompt", asked), ("completion", answer)):
            named[what] = found.column.name
            guesses.append(Guess(what, found.column.name, found.why))
    for what, one in side.items():
        if one:
            guesses.append(Guess(_SAID[what], one.column.name, one.why))
    _say_unused(columns, {*named.values(), *(one.column.name for one in side.values() if one)}, guesses)
    names = {what: one.column.name if one else "" for what, one in side.items()}
    return Columns(**named, subject=names.pop("subject")), names


_SAID = {"subject": "whom rows are about", "group": "rows that stay together", "time": "when rows arose"}


def _say_unused(columns: Iterable[Column], used: set[str], guesses: list[Guess]) -> None:
    names = [column.name for column in columns if column.name not in used]
    if names:
        guesses.append(Guess("not used", ", ".join(names[:10]), f"{len(names)} columns more"))


@dataclass
class _Counts:
    rows: int = 0
    unread: int = 0
    flaw: str = ""
    longest: int = 0
    longest_answer: int = 0
    answers: Counter[str] | None = None


def _count(rows: Iterable[Row], read: Reader) -> _Counts:
    """Read all rows as conversations and count their answers, while there are few different ones."""
    found = _Counts(answers=Counter())
    for row in rows:
        found.rows += 1
        try:
            turns = read(row)
        except ShapeError as error:
            found.unread += 1
            found.flaw = found.flaw or str(error)
        else:
            _add(turns, found)
    if found.unread == found.rows:
        raise DataError(f"no row can be read as a conversation: {found.flaw}", "mend the rows")
    return found


def _add(turns: Turns, found: _Counts) -> None:
    answer = turns.messages[-1].text
    found.longest = max(found.longest, sum(map(len, texts_of(turns))))
    found.longest_answer = max(found.longest_answer, len(answer))
    if found.answers is None or not answer:
        return
    found.answers[clean_text(answer)] += 1
    if turns.rejected or len(answer) > _LONGEST_LABEL or "\n" in answer.strip() or len(found.answers) > 5_000:
        found.answers = None


def _labels(
    counts: _Counts, shape: Shape, whole: bool, guesses: list[Guess]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the labels and the rare ones, where the rows are a classification."""
    if counts.unread:
        said = f"{counts.unread:,} of {counts.rows:,} rows, such as: {counts.flaw}"
        guesses.append(Guess("rows that cannot be read", f"{counts.unread:,}", said))
    answers = counts.answers or Counter()
    labels = {label: count for label, count in answers.most_common() if count >= _LEAST_OF_LABEL}
    rare = {label: count for label, count in answers.most_common() if count < _LEAST_OF_LABEL}
    read = "all" if whole else "the first"
    in_labels = sum(labels.values())
    if 2 <= len(labels) <= _MOST_LABELS and in_labels >= 0.95 * answers.total():
        said = f"{len(answers):,} different answers in {read} {counts.rows:,} rows"
        guesses.append(Guess("task", "classification", said))
        return labels, rare
    different = f"{len(answers):,} different answers" if answers else "long or different answers"
    said = "pairs of answers" if shape == "preference" else f"{different} in {read} {counts.rows:,} rows"
    guesses.append(Guess("task", "generation", said))
    return {}, {}
