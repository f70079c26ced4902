"""From a block of source rows to a table: every row read, judged, cleaned and free of personal data."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.data import plain_chat
from retune.data.blocks import Block, Item, parse
from retune.data.cleaning import clean_text
from retune.data.row_columns import named_values, seconds_of, slices_of
from retune.data.rows import BadLine
from retune.data.shapes import (
    ShapeError,
    Turns,
    ends_with_assistant,
    reader_of,
    roles_in_order,
    texts_of,
    with_texts,
)
from retune.data.spool import Segment
from retune.spec import PipelineSpec
from retune.state.subjects import subject_hash
from retune.text import privacy
from retune.text.conversations import Conversation, Message, make_with_fingerprint, write_conversation

if TYPE_CHECKING:
    import polars as pl

_NO_ROW = (False, False, None, None, None, None, "", "", "", "", "", 0.0, "", 0, 0, 0)


@dataclass(frozen=True)
class Plan:
    """What a process must know to read blocks.

    Attributes:
        spec: The frozen spec.
        spool: Folder of the spool.
        columns: Source columns that the expectations judge as they stand.
        languages: Whether they ask for the language.
        forgotten: Hashes of the subjects whose rows may not be used.
    """

    spec: PipelineSpec
    spool: Path
    columns: tuple[str, ...] = ()
    languages: bool = False
    forgotten: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Read:
    """What a block held.

    Attributes:
        file: Whose block it is.
        rows: One row a source row, with the columns of `_schema`.
        columns: Of `Plan.columns` those that a row has: the values, row by row.
        personal: Kind -> how many pieces of personal data were found.
        cleaned: Rows that cleaning changed.
    """

    file: str
    rows: pl.DataFrame
    columns: dict[str, list[Any]]
    personal: Counter[str]
    cleaned: int


def read_block(block: Block, plan: Plan) -> Read:
    """Read a block; its conversations go to the spool's segment of the block's number."""
    import polars as pl

    segment = Segment(plan.spool, block.number)
    reader = _Reader(plan, segment)
    reader.read(block)
    segment.close()
    schema = _schema()
    values = zip(*reader.rows, strict=True) if reader.rows else ([] for _ in schema)
    rows = pl.DataFrame(dict(zip(schema, values, strict=True)), schema=schema)
    if plan.languages:
        rows = rows.with_columns(language=_languages(rows, plan.spool / f"{block.number}.jsonl"))
    place = {"file": pl.lit(block.file), "segment": pl.lit(block.number, pl.UInt32)}
    return Read(block.file, rows.with_columns(**place), reader.columns, reader.personal, reader.cleaned)


def _schema() -> dict[str, Any]:
    import polars as pl

    judged = {"roles_in_order": pl.Boolean, "ends_with_assistant": pl.Boolean, "turns": pl.Int32}
    sizes = {"prompt_chars": pl.Int32, "completion_chars": pl.Int32}
    names = {"id": pl.String, "fingerprint": pl.String, "stratum": pl.String}
    belongs = {"group": pl.String, "slices": pl.String}
    place = {"place": pl.UInt64, "size": pl.UInt32, "mark": pl.UInt32}
    return {
        "line": pl.Int64,
        "flaw": pl.String,
        "action": pl.String,
        "reason": pl.String,
        "detail": pl.String,
        **judged,
        **sizes,
        "label": pl.String,
        **names,
        **belongs,
        "time": pl.Float64,
        "subject": pl.String,
        **place,
    }


class _Reader:
    """Takes rows one by one."""

    def __init__(self, plan: Plan, segment: Segment) -> None:
        data = plan.spec.data
        self._plan, self._segment, self._data = plan, segment, data
        # The spec's own words are no row's: nothing is redacted in them.
        self._read = reader_of(data.model_copy(update={"system_prompt": ""}))
        self._system = Message(role="system", content=data.system_prompt) if data.system_prompt else None
        self._names, self._slices = plan.spec.named_columns, plan.spec.slice_columns
        self._labelled = plan.spec.task.kind == "classification"
        self.rows: list[tuple[Any, ...]] = []
        self.columns: dict[str, list[Any]] = {}
        self.personal: Counter[str] = Counter()
        self.cleaned = 0

    def read(self, block: Block) -> None:
        """Read a block, each row the shortest way that takes it."""
        if block.items or not plain_chat.fits(self._data, (*self._plan.columns, *self._slices)):
            for item, plain in block.rows():
                self._take_or_refuse(item, plain)
            return
        chats = plain_chat.PlainChats(self._data, self._labelled, self._segment, self.personal)
        for number, line in block.lines():
            if row := chats.take(number, line):
                self.rows.append(row)
            else:
                self._take_or_refuse(*parse(number, line))
        self.cleaned += chats.cleaned

    def _take_or_refuse(self, item: Item, plain: bool) -> None:
        if isinstance(item, BadLine):
            self.refuse(item.line, {}, item.what, item.action)
        else:
            self.take(*item, plain)

    def refuse(self, line: int, values: Mapping[str, Any], what: str, action: str) -> None:
        """Note a row that is no conversation."""
        self._keep(values)
        self.rows.append((line, what, action, None, "", *_NO_ROW))

    def take(self, line: int, values: Mapping[str, Any], plain: bool) -> None:
        """Read a row, clean it and put it into the spool, or note why not."""
        try:
            turns, named = self._read(values), named_values(values, self._names)
            time = seconds_of(named[self._data.split.by_time]) if self._data.split.by_time else 0.0
        except ShapeError as error:
            self.refuse(line, values, error.what, error.action)
            return
        subject = named.get(self._data.columns.subject, "")
        subject = subject_hash(subject) if subject else ""
        if subject in self._plan.forgotten:
            # Nothing of such a row is kept, not even why it is gone.
            self._keep({})
            self.rows.append((line, None, None, "forgotten", "", *_NO_ROW))
            return
        self._keep(values)
        turns, private = self._made_clean(turns, plain)
        reason, detail = self._why_not(turns, private, named)
        if reason == "malformed":
            judged = (roles_in_order(turns), ends_with_assistant(turns), len(turns.messages))
            self.rows.append((line, None, None, reason, detail, *judged, *_NO_ROW[3:]))
            return
        self._add(line, reason, detail, turns, named, time, subject)

    def _add(
        self,
        line: int,
        reason: str | None,
        detail: str,
        turns: Turns,
        named: Mapping[str, str],
        time: float,
        subject: str,
    ) -> None:
        messages = turns.messages
        judged = (roles_in_order(turns), True, len(messages))
        if self._system and messages[0].role != "system":
            messages = [self._system, *messages]
        row, fingerprint = make_with_fingerprint(messages, turns.rejected, turns.tools)
        text = write_conversation(row)
        place, size = self._segment.add(text)
        label = row.completion if self._labelled else ""
        split = self._data.split
        self.rows.append(
            (line, None, None, reason, detail)
            + judged
            + (len(row.prompt), _answer_chars(row), label, row.id, fingerprint)
            + (named.get(split.stratify_by) or label, named.get(split.group_by, ""))
            + (slices_of(named, self._slices, self._data.privacy), time, subject)
            + (place, size, zlib.crc32(text))
        )

    def _made_clean(self, turns: Turns, plain: bool) -> tuple[Turns, int]:
        """Return the turns with clean texts, and how much personal data stood in them."""
        texts = texts_of(turns)
        clean = [text.strip() for text in texts] if plain else [clean_text(text) for text in texts]
        self.cleaned += clean != texts
        found: Counter[str] = Counter()
        if self._data.privacy != "allow":
            clean, found = privacy.redact(clean)
            self.personal.update(found)
        return (turns if clean == texts else with_texts(turns, clean)), sum(found.values())

    def _why_not(self, turns: Turns, private: int, named: Mapping[str, str]) -> tuple[str | None, str]:
        """Return the reason to leave a row out, if there is one, and its detail."""
        if not ends_with_assistant(turns) or all(turn.role != "user" for turn in turns.messages):
            return "malformed", ", ".join(turn.role for turn in turns.messages)
        asked = next(turn.content for turn in reversed(turns.messages) if turn.role == "user")
        if not asked or not turns.messages[-1].text or not all(turn.text for turn in turns.rejected):
            return "empty", ""
        if private and self._data.privacy == "reject":
            return "personal_data", ""
        for rule in self._data.where:
            value = named[rule.column]
            if (rule.is_in and value not in rule.is_in) or value in rule.is_not:
                return "filtered", f"{rule.column} is {value!r:.60}"
        return None, ""

    def _keep(self, values: Mapping[str, Any]) -> None:
        """Keep what the expectations judge of a row as it stands; a column that no row has is not there."""
        for name in self._plan.columns:
            if name in values and name not in self.columns:
                self.columns[name] = [None] * len(self.rows)
            if name in self.columns:
                self.columns[name].append(values.get(name))


def _answer_chars(row: Conversation) -> int:
    return min(len(turn.text) for turn in (row.messages[-1], *row.rejected))


def _languages(rows: pl.DataFrame, segment: Path) -> pl.Series:
    """Return each row's language; null where it is no conversation."""
    import polars as pl

    from retune.data.features import language_of
    from retune.text.conversations import read_conversation

    data = segment.read_bytes()
    places = rows.select("place", "size").iter_rows()
    texts = [read_conversation(data[place : place + size]).asked if size else "" for place, size in places]
    return pl.Series("language", language_of(texts), dtype=pl.String)
