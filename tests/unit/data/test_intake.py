from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.artifacts import digest_of
from retune.data.intake import SHOWN_PROBLEMS, Sources, read_sources
from retune.errors import DataError, Problem
from tests.unit.data.conftest import Project

# Surrogates cannot be written as UTF-8.
FIELD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
GOOD = b'{"text": "where is it", "queue": "shipping"}\n'


def read(project: Project, *sources: str) -> Sources:
    return read_sources(project.spec(*sources), project.settings)


def problems(project: Project, *sources: str) -> list[Problem]:
    with pytest.raises(DataError) as caught:
        read(project, *sources)
    return caught.value.problems


def test_jsonl_and_csv_are_read_with_their_lines_and_digests(project: Project) -> None:
    jsonl = project.write("a.jsonl", b"\xef\xbb\xbf" + GOOD + b"\r\n" + GOOD)
    project.write("b.csv", '\ufefftext,queue,extra\r\n"two\nlines, one field",billing,\r\nlast,returns,x\r\n')
    found = read(project, "*.jsonl", "b.csv", "nothing/*.jsonl")
    assert [(row.file, row.line) for row in found.rows] == [
        ("a.jsonl", 1), ("a.jsonl", 3), ("b.csv", 2), ("b.csv", 4),
    ]  # fmt: skip
    assert found.rows[2].values == {"text": "two\nlines, one field", "queue": "billing", "extra": None}
    assert found.digests["a.jsonl"] == digest_of(jsonl.read_bytes())


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
        ("h.parquet", 1): ".parquet is not a known format",
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


def test_sources_stay_inside_the_project(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(GOOD)
    (project.root / "link.jsonl").symlink_to(outside)
    (project.root / "folder").symlink_to(tmp_path)
    for source in ("../outside.jsonl", "link.jsonl", "folder/outside.jsonl", "folder/*.jsonl", "*.jsonl"):
        (problem,) = problems(project, source)
        assert source.split("/")[0] in problem.what or "link" in problem.what
    # The spec's author may point anywhere by writing the whole path.
    assert list(read(project, str(outside)).digests) == [str(outside)]


def test_a_link_inside_the_project_is_followed(project: Project) -> None:
    project.write("real/a.jsonl", GOOD)
    (project.root / "link.jsonl").symlink_to(project.root / "real" / "a.jsonl")
    assert len(read(project, "link.jsonl").rows) == 1


def test_missing_sources(project: Project) -> None:
    assert "no file 'rows.jsonl'" in problems(project, "rows.jsonl")[0].what
    assert "no file matches new/*.jsonl" in problems(project, "new/*.jsonl")[0].what


def test_a_file_that_two_patterns_name_is_read_once(project: Project) -> None:
    project.write("a.jsonl", GOOD)
    assert len(read(project, "a.jsonl", "*.jsonl", str(project.root / "a.jsonl")).rows) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.binary(max_size=200), suffix=st.sampled_from([".jsonl", ".csv"]))
def test_any_bytes_are_rows_or_a_data_error(project: Project, data: bytes, suffix: str) -> None:
    path = project.write(f"any{suffix}", data)
    try:
        assert read(project, path.name).rows
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
    found = read(project, "a.csv").rows
    assert [(row.values["text"], row.values["queue"]) for row in found] == rows
