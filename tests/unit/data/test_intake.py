from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.artifacts import digest_of
from retune.data.blocks import cut
from retune.data.collect import Collected, collect
from retune.data.intake import Plan
from retune.data.requirements import SHOWN_PROBLEMS, flaws
from retune.data.sources import find_sources
from retune.data.spool import Segment, Spool
from retune.errors import DataError, Problem
from retune.settings import EnvironmentFileSystems
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation
from tests.unit.data.conftest import Project

# Surrogates cannot be written as UTF-8.
FIELD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
GOOD = b'{"text": "where is it", "queue": "shipping"}\n'


def read(project: Project, *sources: str, spec: PipelineSpec | None = None) -> Collected:
    """Read sources without a word on bad rows."""
    spec = spec or project.spec(*sources, privacy="allow")
    found = find_sources(spec.data.sources, project.settings, EnvironmentFileSystems())
    return collect(found, Plan(spec, project.settings.home / "spool"), lambda line: None)


def conversations(project: Project, collected: Collected) -> list[Conversation]:
    rows = collected.rows.filter(collected.rows["size"] > 0)
    return list(Spool(project.settings.home / "spool").read(rows))


def problems(project: Project, *sources: str, **changed: Any) -> list[Problem]:
    spec = project.spec(*sources, privacy="allow", **changed)
    try:
        found = flaws(read(project, spec=spec))
    except DataError as error:
        found = error.problems
    assert found
    return found


def test_jsonl_and_csv_are_read_with_their_lines_and_digests(project: Project) -> None:
    jsonl = project.write("a.jsonl", b"\xef\xbb\xbf" + GOOD + b"\r\n" + GOOD)
    project.write("b.csv", '\ufefftext,queue,extra\r\n"two\nlines, one field",billing,\r\nlast,returns,x\r\n')
    found = read(project, "*.jsonl", "b.csv", "nothing/*.jsonl")
    assert list(found.rows.select("file", "line").iter_rows()) == [
        ("a.jsonl", 1), ("a.jsonl", 3), ("b.csv", 2), ("b.csv", 4),
    ]  # fmt: skip
    row = conversations(project, found)[2]
    assert (row.prompt, row.completion) == ("two\nlines, one field", "billing")
    assert found.tally.digests["a.jsonl"] == digest_of(jsonl.read_bytes())


def test_every_bad_line_of_every_file_is_named(project: Project) -> None:
    project.write(
        "a.jsonl",
        GOOD
        + b'{"text": "caf\xe9", "queue": "x"}\n'
        + b'{"text": "cut off\n'
        + b'{"txt": "a", "queue": "x"}\n'
        + b'{"text": "a", "queue": 7}\n'
        + b"[1]\n"
        + b'{"text": "a", "text": "b", "queue": "x"}\n'
        + b'{"text": NaN, "queue": "x"}\n'
        + b'{"text": "half \\ud83d", "queue": "x"}\n'
        + b'{"text": null, "queue": "x"}\n'
        + b"[" * 100_000
        + b"\n",
    )
    project.write("b.csv", "text,queue\na,b,c\n")
    project.write("c.csv", b"text,queue\na,b\nna\xefve,b\n")
    project.write("d.csv", "body,queue\na,b\n")
    project.write("e.csv", 'text,queue\n"open,b\n')
    project.write("f.csv", "text,queue,queue\na,b,c\n")
    project.write("g.jsonl", b"")
    project.write("h.parquet", b"PAR1")
    found = problems(project, "*.*l", "*.csv", "h.parquet")
    said = {(problem.file, problem.line): problem.what for problem in found}
    for place, words in {
        ("a.jsonl", 2): "not UTF-8: byte 0xe9",
        ("a.jsonl", 3): "invalid JSON",
        ("a.jsonl", 4): "column 'text' is missing; the row has txt, queue",
        ("a.jsonl", 5): "column 'queue' is 7 (int), not text",
        ("a.jsonl", 6): "JSON list, not an object",
        ("a.jsonl", 7): "key 'text' stands twice",
        ("a.jsonl", 8): "NaN is no JSON value",
        ("a.jsonl", 9): "half of a surrogate pair",
        ("a.jsonl", 11): "invalid JSON",
        ("b.csv", 2): "has 3 fields, the header 2",
        ("c.csv", 3): "not UTF-8: byte 0xef",
        ("d.csv", 1): "column 'text' is missing; the header has body, queue",
        ("e.csv", 2): "invalid CSV",
        ("f.csv", 1): "names a column twice",
        ("g.jsonl", None): "holds no row",
        ("h.parquet", 1): "Parquet",
    }.items():
        assert words in said.pop(place)
    assert not said


def test_many_problems_are_cut_and_counted(project: Project) -> None:
    project.write("a.jsonl", b"nonsense\n" * (SHOWN_PROBLEMS + 5))
    found = problems(project, "a.jsonl")
    assert len(found) == SHOWN_PROBLEMS + 1
    assert found[-1].what == "and 5 more problems"


def test_a_csv_with_a_header_only_holds_no_row(project: Project) -> None:
    project.write("a.csv", "text,queue\n")
    assert problems(project, "a.csv")[0].what == "holds no row"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.binary(max_size=200), suffix=st.sampled_from([".jsonl", ".csv"]))
def test_any_bytes_are_rows_or_a_data_error(project: Project, data: bytes, suffix: str) -> None:
    path = project.write(f"any{suffix}", data)
    try:
        found = read(project, path.name)
        assert all(problem.file == path.name for problem in flaws(found))
        assert found.rows.height or flaws(found)
    except DataError as error:
        assert all(problem.file == path.name for problem in error.problems)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(
        st.tuples(
            *[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)] * 2
        ),
        min_size=1,
    )
)
def test_a_csv_keeps_every_character(project: Project, rows: list[tuple[str, str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("text", "queue"), *rows])
    project.write("a.csv", out.getvalue())
    spec = project.spec("a.csv", privacy="allow")
    kept = Plan(spec, project.settings.home / "spool", columns=("text", "queue"))
    found = collect(find_sources(spec.data.sources, project.settings, EnvironmentFileSystems()), kept, print)
    assert list(zip(found.columns["text"], found.columns["queue"], strict=True)) == rows


def test_a_file_that_goes_while_it_is_read_is_named(project: Project) -> None:
    path = project.rows([{"text": "x", "queue": "y"}])
    found = find_sources(project.spec().data.sources, project.settings, EnvironmentFileSystems())
    [block] = cut(found, (), lambda name, digest: None)
    path.unlink()
    with pytest.raises(DataError, match="rows.jsonl: is gone since it was found"):
        list(block.rows())


def test_any_number_of_segments_is_read_with_few_files_open(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    places = []
    for number in range(600):
        segment = Segment(tmp_path, number)
        places.append((number, *segment.add(b"%d\n" % number)))
        segment.close()
    rows = pl.DataFrame(places, schema=["segment", "place", "size"], orient="row")
    spool, wanted = Spool(tmp_path), [b"%d\n" % number for number in range(600)]
    assert list(spool.lines(rows)) == list(spool.lines(rows)) == wanted
    assert len(set(os.listdir("/proc/self/fd")) - before) < 300
    spool.close()
