from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.artifacts import digest_of_file
from retune.data.rows import BadLine
from retune.data.sources import Source, find_sources
from retune.data.tables import MOST_COLUMNS, MOST_FIELD, MOST_LINE, read_csv, read_parquet
from retune.errors import DataError
from retune.settings import EnvironmentFileSystems, Settings

# A NUL is refused, and surrogates cannot be written as UTF-8.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def rows(data: bytes | str, size: int = 1 << 20, needed: tuple[str, ...] = ()) -> list[Any]:
    data = data.encode() if isinstance(data, str) else data
    return list(read_csv((data[start : start + size] for start in range(0, len(data), size)), needed))


def flaw(data: bytes | str, line: int, words: str, needed: tuple[str, ...] = ()) -> None:
    *_, bad = rows(data, needed=needed)
    assert isinstance(bad, BadLine) and bad.action
    assert bad.line == line and words in bad.what, bad


def test_records_have_their_lines_and_values() -> None:
    data = '\ufefftext,queue\r\n\r\n"two\nlines, ""one"" field",billing\r\n\na,\n"",x\r\nlast,y'
    for size in (1, 2, 3, 7, 100):
        assert rows(data, size) == [
            (3, {"text": 'two\nlines, "one" field', "queue": "billing"}),
            (6, {"text": "a", "queue": None}),
            (7, {"text": None, "queue": "x"}),
            (8, {"text": "last", "queue": "y"}),
        ]


@given(
    st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=8),
    st.integers(1, 40),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_character_comes_back(table: list[list[str]], size: int, end: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=end).writerows([["a", "b"], *table])
    found = rows(out.getvalue(), size)
    assert [[row["a"] or "", row["b"] or ""] for _, row in found] == table
    lines = out.getvalue().split("\n")
    assert all(
        lines[line - 1].startswith('"' + (row["a"] or "").split("\n")[0].replace('"', '""'))
        for line, row in found
    )


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_rows_or_bad_lines(data: bytes, size: int) -> None:
    found = rows(data, size)
    assert found == rows(data)
    places = [each.line if isinstance(each, BadLine) else each[0] for each in found]
    assert places == sorted(places) and all(1 <= place <= data.count(b"\n") + 1 for place in places)


@given(st.text('ab,"\r\n', max_size=60))
def test_what_is_read_is_what_the_csv_module_reads_from_a_whole_file(text: str) -> None:
    data = "x,y\n" + text
    try:
        expected = [row for row in csv.reader(io.StringIO(data, newline="\n"), strict=True) if row][1:]
    except csv.Error:
        assert isinstance(rows(data)[-1], BadLine)
    else:
        assert [list(each[1].values()) for each in rows(data) if not isinstance(each, BadLine)] == [
            [field or None for field in row] for row in expected if len(row) == 2
        ]


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        ("a,b\n1,2\n3,4,5\n", 3, "has 3 fields, the header 2"),
        ("a,b\n1\n", 2, "has 1 fields, the header 2"),
        ("a,b,a\n1,2,3\n", 1, "the header names a column twice: a"),
        ("a,,b\n1,2,3\n", 1, "the header has no name for column 2"),
        (b"a,b\n1,2\nna\xefve,b\n", 3, "not UTF-8: byte 0xef"),
        (b'a,b\n1,2\n"x\n\nna\xc3",b\n', 5, "not UTF-8: byte 0xc3"),
        (b"a\xff,b\n1,2\n", 1, "not UTF-8: byte 0xff"),
        (b"\xff\xfea\0,\0b\0\n\0", 1, "not UTF-8: byte 0xff"),
        ("a,b\n1,2\nx\0,y\n", 3, "column 'a' holds a NUL"),
        ("a\0,b\n1,2\n", 1, "the header holds a NUL"),
        ("a,b\n1,2\nx\ry,z\nv,w\n", 3, "a bare CR; the rest of the file was not read"),
        ("a,b\r1,2\r3,4\r", 1, "a bare CR; the rest"),
        ('a,b\n1,2\n"open,y\n3,4\n', 3, "a quote is left open until the end"),
        ('a,b\n1,2\n"x"y,z\n3,4\n', 3, "invalid CSV: ',' expected after '\"'; the rest of the file"),
    ],
)
def test_flaws_are_named_by_their_line(data: bytes | str, line: int, words: str) -> None:
    flaw(data, line, words)


def test_bad_bytes_cost_their_own_records_only() -> None:
    found = rows(b'a,b\n\xe9,1\nx,2\n"y\n\xe9\n\xe8",3\nz,4\n')
    assert [each.line if isinstance(each, BadLine) else each for each in found] == [
        2, (3, {"a": "x", "b": "2"}), 5, 6, (7, {"a": "z", "b": "4"}),
    ]  # fmt: skip


def test_needed_columns_and_very_wide_tables() -> None:
    flaw("body,queue\n1,2\n", 1, "column 'text' is missing; the header has body, queue", ("text", "queue"))
    wide = ",".join(f"c{number}" for number in range(MOST_COLUMNS + 1))
    flaw(f"{wide}\n{wide}\n", 1, "the header names 10,001 columns")
    wide = wide.rpartition(",")[0]
    assert len(rows(f"{wide}\n{wide}\n")[0][1]) == MOST_COLUMNS


def test_a_header_only_and_nothing_hold_no_row() -> None:
    assert rows("a,b\n") == rows("") == rows("\n\n") == rows("\ufeff") == []


def endless(start: bytes, block: bytes) -> Iterator[bytes]:
    yield start
    for number in range(1000):
        assert number < 200, "reads on and on"
        yield block


def test_fields_and_lines_without_an_end_stop_the_reading() -> None:
    assert rows("a\n" + "x" * MOST_FIELD + "\n")[0][1] == {"a": "x" * MOST_FIELD}
    flaw(
        "a,b\n1,2\n" + "x" * (MOST_FIELD + 1) + ",2\n",
        3,
        f"a field is longer than {MOST_FIELD:,} characters; the rest",
    )
    open_quote = list(read_csv(endless(b'a,b\n1,2\n"', (b"1,2," * 5_000 + b"\n") * 50)))
    assert open_quote[-1].line == 3 and "a field is longer" in open_quote[-1].what
    one_line = list(read_csv(endless(b"a,b\n1,2\n", b"1,2," * (1 << 18))))
    assert one_line[-1].line == 3 and f"a line is longer than {MOST_LINE >> 20} MiB" in one_line[-1].what


# Parquet


@dataclass(frozen=True)
class Folder:
    root: Path

    def source(self) -> Source:
        settings = Settings.load({"project": str(self.root)}.get)
        return find_sources(("a.parquet",), settings, EnvironmentFileSystems())[0]

    def read(self) -> list[Any]:
        digests: list[str] = []
        found = list(read_parquet(self.source(), digests.append))
        assert digests == [digest_of_file(self.root / "a.parquet")]
        return found

    def write(self, table: pa.Table, **options: Any) -> None:
        pq.write_table(table, self.root / "a.parquet", **options)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_parquets_values_are_as_json_has_them(folder: Folder) -> None:
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    columns = {
        "text": pa.array(["a", None]),
        "coded": pa.array(["a", "b"]).dictionary_encode(),
        "count": pa.array([1, None], pa.int64()),
        "share": pa.array([float("nan"), 0.5]),
        "flag": pa.array([True, None]),
        "at": pa.array([at, None], pa.timestamp("us", "UTC")),
        "nanos": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")),
        "day": pa.array([date(2026, 11, 23), None]),
        "took": pa.array([timedelta(seconds=90), None]),
        "price": pa.array([Decimal("12.10"), None]),
        "bytes": pa.array([b"caf\xc3\xa9", None]),
        "messages": pa.array([[{"role": "user", "content": "hi"}], []]),
        "map": pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
        "floats": pa.array([[1.0, float("nan")], None]),
        "nothing": pa.array([None, None]),
    }
    folder.write(pa.table(columns))
    (first, one), (second, two) = folder.read()
    assert (first, second) == (1, 2)
    assert one == {
        "text": "a", "coded": "a", "count": 1, "share": None, "flag": True, "at": "2026-11-23T12:00:00+00:00",
        "nanos": "2023-11-14T22:13:20.123456789", "day": "2026-11-23", "took": 90.0, "price": 12.1,
        "bytes": "café", "messages": [{"role": "user", "content": "hi"}], "map": {"k": 1.5}, "nothing": None,
        "floats": [1.0, None],
    }  # fmt: skip
    assert two == {name: None for name in columns} | {"coded": "b", "share": 0.5, "messages": []}


def test_parquet_is_read_over_row_groups_and_batches(folder: Folder) -> None:
    folder.write(pa.table({"n": range(20_000), "text": ["x" * 3000] * 20_000}), row_group_size=7_001)
    assert [(line, row["n"]) for line, row in folder.read()] == [(n + 1, n) for n in range(20_000)]
    folder.write(pa.table({"n": pa.array([], pa.int64())}))
    assert folder.read() == []


def test_a_value_that_no_text_can_hold_is_named_by_its_row(folder: Folder) -> None:
    texts = pa.array([b"a", b"\xff", b"c"])
    far = pa.array([0, 0, 2**62], pa.timestamp("us"))
    twice = pa.array([[("k", 1), ("k", 2)], [], None], pa.map_(pa.string(), pa.int64()))
    for table, line, words in (
        (pa.table({"n": [1, 2, 3], "text": texts}), 2, "can't decode byte 0xff"),
        (
            pa.table({"n": [1, 2, 3], "text": pa.Array.from_buffers(pa.string(), 3, texts.buffers())}),
            2,
            "0xff",
        ),
        (pa.table({"n": [1, 2, 3], "at": far}), 3, "holds a value that is no text or number"),
        (pa.table({"n": [1, 2, 3], "map": twice}), 1, "key 'k' stands twice"),
    ):
        folder.write(table)
        found = folder.read()
        assert [each.line if isinstance(each, BadLine) else each[1]["n"] for each in found] == [1, 2, 3]
        (bad,) = [each for each in found if isinstance(each, BadLine)]
        assert bad.line == line and words in bad.what and bad.action


def test_columns_that_stand_twice_or_have_no_name(folder: Folder) -> None:
    for names, words in (
        (["a", "a"], "the schema names a column twice: a"),
        (["a", ""], "no name for column 2"),
    ):
        folder.write(pa.table([[1], [2]], names=names))
        (bad,) = folder.read()
        assert bad.line == 1 and words in bad.what
    folder.write(pa.table({f"c{number}": [1] for number in range(MOST_COLUMNS + 1)}))
    assert "the schema names 10,001 columns" in folder.read()[0].what


def test_a_broken_file_ends_in_one_bad_line(folder: Folder) -> None:
    folder.write(
        pa.table({"n": range(5_000)}), row_group_size=1_000, write_page_checksum=True, compression="none"
    )
    path = folder.root / "a.parquet"
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 1
    for data in (b"", b"PAR1", b"text,queue\n", whole[:-1], whole[: len(whole) // 2], bytes(broken)):
        path.write_bytes(data)
        *rows, bad = folder.read()
        assert bad.line == len(rows) + 1 and "cannot be read as Parquet: " in bad.what
        assert [row for _, row in rows] == [{"n": n} for n in range(len(rows))]


def test_a_parquet_file_that_is_gone_is_a_data_error(folder: Folder) -> None:
    folder.write(pa.table({"n": [1]}))
    source = folder.source()
    (folder.root / "a.parquet").unlink()
    with pytest.raises(DataError, match="a.parquet: is gone"):
        list(read_parquet(source, print))
