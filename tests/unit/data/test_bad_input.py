"""Wrong input is one clear error, and nothing of it is kept; odd input that is right is read.

What is proven of one part alone stands with it: escapes and addresses in `test_sources` and
`test_public_web`, packed files in `test_streams`, tables in `test_tables`, lines in `test_intake`.
Here the whole stage runs.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.data import jsonl
from retune.data.rows import BadLine
from retune.errors import ArtifactError, DataError, Problem, RetuneError
from retune.state import dataset_records, held_out, splits
from tests.unit.data.choosing import rows_of
from tests.unit.data.conftest import Project

QUEUES = ("billing", "shipping", "returns", "account")
GOOD = "".join(json.dumps({"text": f"ticket {n}", "queue": QUEUES[n % 4]}) + "\n" for n in range(40)).encode()
COLUMNS = {"prompt": "text", "completion": "queue"}
AT = b'{"text": "where is it", "queue": "billing", "at": %s}\n'
# What the suite says of flawed rows is one more line, not another problem of the input.
SUITE = "expect_"


def problems(project: Project, *sources: str, **changed: Any) -> list[Problem]:
    """Return what stops a preparation, which must leave nothing behind."""
    with pytest.raises(DataError) as caught:
        project.prepare(project.spec(*sources, label_errors="off", **changed))
    nothing_is_kept(project)
    str(caught.value).encode()
    found = caught.value.problems
    assert all(problem.what and problem.action for problem in found)
    return [problem for problem in found if not problem.what.startswith(SUITE)]


def nothing_is_kept(project: Project) -> None:
    """No dataset, no side, no row that counts as held out, no file on its way, and pages alone are stored."""
    with project.db.read() as tx:
        assert dataset_records.latest(tx, "tickets") is None
        assert splits.assigned(tx, "tickets") == {} and held_out.known(tx, "tickets") == {}
    home = project.settings.home
    assert not list(home.glob("prepare-*")) + list(home.glob(".source-*"))
    stored = Path(project.settings.artifacts_url.removeprefix("file://"))
    for path in stored.rglob("*"):
        assert path.is_dir() or (path.suffix == "" and path.read_bytes().lstrip()[:1] == b"<"), path


LINES: dict[str, tuple[bytes, str]] = {
    "bare CR": (GOOD.replace(b"\n", b"\r")[:80], "invalid JSON: Extra data"),
    "NUL": (b'{"text": "a\0b", "queue": "billing"}', "invalid JSON: Invalid control character"),
    "half a pair, in a text": (rb'{"text": "\ud83d", "queue": "billing"}', r"\ud83d' ends in half of a surr"),
    "half a pair, elsewhere": (
        rb'{"text": "a", "queue": "billing", "by": [{"x": "\udc00"}]}',
        r"""[{"x": "\udc00' ends in half of a surr""",
    ),
    "half a pair, in a key": (
        rb'{"text": "a", "queue": "x", "\ud83dx": 1}',
        r"\ud83d' ends in half of a surr",
    ),
    "UTF-8": (b'{"text": "na\xefve", "queue": "billing"}', "not UTF-8: byte 0xef"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), "not UTF-8: byte 0xff"),
    "key twice": (b'{"text": "a", "queue": "billing", "text": "b"}', "key 'text' stands twice"),
    "key twice inside": (b'{"text": "a", "queue": "x", "by": {"k": 1, "k": 2}}', "key 'k' stands twice"),
    "comma": (b'{"text": "a", "queue": "billing",}', "invalid JSON: Expecting property name"),
    "comment": (b'{"text": "a", "queue": "billing"} // last', "invalid JSON: Extra data"),
    "array": (b"[" + GOOD.splitlines()[0] + b"]", "is a JSON list, not an object"),
    "number as label": (b'{"text": "a", "queue": 7}', "column 'queue' is 7 (int), not text"),
    "text of another type": (b'{"text": ["a"], "queue": "x"}', "column 'text' is ['a'] (list), not text"),
    "flag": (b'{"text": true, "queue": "x"}', "column 'text' is True (bool), not text"),
    "infinity": (b'{"text": Infinity, "queue": "x"}', "Infinity is no JSON value"),
    "depth": (b'{"text": ' + b"[" * 9_999 + b"]" * 9_999 + b"}", "invalid JSON: nested too deep"),
    "no column": (b'{"body": "a", "queue": "x"}', "column 'text' is missing; the row has body, queue"),
}


def test_every_bad_line_is_named_with_the_others(project: Project) -> None:
    assert len(LINES) < 20  # more would be counted only
    project.write("good.jsonl", GOOD)
    project.write("bad.jsonl", GOOD + b"".join(line + b"\n" for line, _ in LINES.values()))
    found = problems(project, "*.jsonl")
    assert [(problem.file, problem.line) for problem in found] == [
        ("bad.jsonl", 41 + n) for n in range(len(LINES))
    ]
    for (name, (_, words)), problem in zip(LINES.items(), found, strict=True):
        assert words in problem.what, (name, problem)


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_no_depth_breaks_the_parser(opened: bytes, closed: bytes) -> None:
    # Parsers give up at about a thousand; where exactly depends on who calls them.
    for depth in range(960, 1004):
        line = b'{"text": ' + opened * depth + b"1" + closed * depth + b"}"
        found = jsonl.parse_line(line, 3)
        assert isinstance(found, dict) or found == BadLine(
            3, "invalid JSON: nested too deep", "mend the line: one JSON object a line"
        )


FILES: dict[str, tuple[bytes, int | None, str]] = {
    "bare-cr.csv": (b"text,queue\ra,b\r", 1, "a bare CR; the rest of the file was not read"),
    "blank-lines.jsonl": (b"\n \r\n\n", None, "holds no row"),
    "columns.csv": (
        b"text,queue," + b",".join(b"c%d" % n for n in range(9_999)) + b"\n",
        1,
        "the header names 10,001 columns",
    ),
    "empty.csv": (b"", None, "holds no row"),
    "empty.jsonl": (b"", None, "holds no row"),
    "header-only.csv": (b"text,queue\r\n", None, "holds no row"),
    "no-column.csv": (b"body,queue\na,b\n", 1, "column 'text' is missing; the header has body, queue"),
    "nul.csv": (b"text,queue\na\0b,billing\n", 2, "column 'text' holds a NUL"),
    "packed-nothing.jsonl.gz": (gzip.compress(b"\n"), None, "holds no row"),
}


# Of three blocks of rows and more several processes are started, which takes its time.
GROUPS = (
    ["blank-lines.jsonl", "empty.csv", "empty.jsonl", "header-only.csv", "packed-nothing.jsonl.gz"],
    ["bare-cr.csv", "columns.csv"],
    ["no-column.csv", "nul.csv"],
)


@pytest.mark.parametrize("names", GROUPS)
def test_every_file_that_is_of_no_use_is_named(project: Project, names: list[str]) -> None:
    assert {name for group in GROUPS for name in group} == set(FILES)
    for name in names:
        project.write(f"in/{name}", FILES[name][0])
    found = problems(project, "in/*")
    assert [(problem.file, problem.line) for problem in found] == [
        (f"in/{name}", FILES[name][1]) for name in names
    ]
    for name, problem in zip(names, found, strict=True):
        assert FILES[name][2] in problem.what


def test_no_rows_at_all(project: Project) -> None:
    project.write("a.jsonl", b"")
    (problem,) = problems(project, "a.jsonl")
    assert str(problem) == "a.jsonl: holds no row -> add rows, or take it out of data.sources"


def test_all_files_that_cannot_be_read_are_named_together(project: Project) -> None:
    project.write("a.jsonl.gz", gzip.compress(GOOD)[:-9])
    project.write("b.csv.gz", gzip.compress(GOOD)[:-20])
    project.write("c.jsonl", gzip.compress(GOOD))
    project.write("d.jsonl", GOOD)
    assert [problem.file for problem in problems(project, "[a-d].*")] == ["a.jsonl.gz", "b.csv.gz", "c.jsonl"]


def test_lines_without_an_end_are_no_rows(project: Project) -> None:
    for name, start in {"a.jsonl": b'{"text": "', "b.csv": b"text,queue\na,billing\n"}.items():
        with project.write(name, start).open("r+b") as file:
            file.truncate(100_000_000)  # a hole: nothing of it lies on the disk
    found = problems(project, "a.jsonl", "b.csv")
    assert [(problem.file, problem.line, problem.what) for problem in found] == [
        ("a.jsonl", 1, "longer than 10 MB; the rest of the file was not read"),
        ("b.csv", 3, "invalid CSV: a line is longer than 64 MiB; the rest of the file was not read"),
    ]


def test_after_a_line_that_is_too_long_the_next_ones_are_read(project: Project) -> None:
    long = json.dumps({"text": "x" * 11_000_000, "queue": "billing"}).encode() + b"\n"
    project.write("a.jsonl.gz", gzip.compress(GOOD + long + b"}\n" + GOOD, 1))
    one, two = problems(project, "a.jsonl.gz")
    assert (one.line, one.what) == (41, "11 MB long, and at most 10 are read")
    assert (two.line, two.what[:12]) == (42, "invalid JSON")


def test_what_leads_out_of_the_project_is_refused_together(project: Project, tmp_path: Path) -> None:
    (tmp_path / "outside.jsonl").write_bytes(GOOD)
    project.write("in.jsonl", GOOD)
    (project.root / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    private = "http://169.254.169.254/latest/rows.jsonl"
    escapes = ("../outside.jsonl", f"file://{tmp_path}/outside.jsonl", "link.jsonl", private)
    found = problems(project, "in.jsonl", *escapes)
    for problem, words in zip(
        found,
        ("has a '..'", "is outside of the project", "is a link out of the project", "is no public address"),
        strict=True,
    ):
        assert words in problem.what


def test_the_columns_that_a_spec_names_must_be_there_as_text(project: Project) -> None:
    rows = [b'{"text": "a", "queue": "x"}', b'{"text": "a", "queue": "x", "by": [1]}']
    project.write("a.jsonl", b"\n".join(rows))
    one, two = problems(project, "a.jsonl", split={"group_by": "by"}, columns=COLUMNS | {"subject": "by"})
    assert (
        str(one) == "a.jsonl:1: column 'by' is missing; the row has text, queue -> mend the row or the spec"
    )
    assert str(two) == "a.jsonl:2: column 'by' is a list -> write text or a number"


def test_times_that_are_none(project: Project) -> None:
    times = ('"nan"', '"inf"', '"-Infinity"', "1e999", "true", "null", '"soon"', '"2026-13-01"', "9" * 400)
    project.write("a.jsonl", b"".join(AT % time.encode() for time in times))
    found = problems(project, "a.jsonl", split={"by_time": "at"})
    shown = ("nan", "inf", "-Infinity", "inf", "True", "", "soon", "2026-13-01", "9" * 59)
    assert [(problem.line, problem.what) for problem in found] == [
        (line, f"{seen!r:.60} in the column of data.split.by_time is no time")
        for line, seen in enumerate(shown, start=1)
    ]
    assert {problem.action for problem in found} == {"write ISO 8601, or seconds since 1970"}


def test_one_class_is_not_learned(project: Project) -> None:
    project.write("a.csv", "text,queue\n" + "".join(f"ticket {n},only\n" for n in range(30)))
    (problem,) = problems(project, "a.csv")
    assert problem.what == "all 30 examples have the label 'only'"


def test_odd_input_that_is_right_is_read(project: Project) -> None:
    """A BOM, CRLF, many columns, labels of digits, spaces or markup, and more: one dataset, nothing lost."""
    script = "<script>alert('row')</script>"
    labels = ("7", "late  order", "<script>alert(1)</script>", "ünïcode 🚚")
    wide = {f"c{n}": n for n in range(10_000)}
    rows = [{"text": f"{script} {n} é", "queue": f" {labels[n % 4]} "} for n in range(40)]
    lines = [json.dumps({**row, **(wide if n == 5 else {})}) for n, row in enumerate(rows)]
    project.write("a.jsonl", b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    header = ",".join(["text", "queue", *(f"c{n}" for n in range(9_998))])
    project.write("b.csv", f'\ufeff{header}\r\n"two\r\nlines, {script}",7{"," * 9_998}\r\n')
    spec = project.spec("[ab].*", label_errors="off", near_duplicates=1, split={"leak_similarity": 1})
    dataset = project.prepare(spec)
    assert dataset.labels == tuple(sorted(labels))
    assert dataset.rows_read == 41 and not any(dataset.dropped.values())
    kept = [
        row for name in ("train", "validation", "held_out") for row in project.read(getattr(dataset, name))
    ]
    asked = {row.prompt: row.completion for row in kept}
    assert asked == {
        **{row["text"]: row["queue"].strip() for row in rows},
        f"two\nlines, {script}": "7",
    }
    for page in (dataset.validation_page, dataset.card):
        assert page is not None
        shown = project.artifacts.get_bytes(page.digest).decode()
        assert "<script>alert" not in shown
    assert "&lt;script&gt;alert" in shown and "<script" not in shown


# Disks that are full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def make(size: int) -> Path:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        return disk

    yield make
    subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def full(project: Project, most: int = -1) -> RetuneError:
    """Prepare 1.3 MB of rows, for which there is no room, or in files of so many bytes at most."""
    rows = [{"text": f"{n} {'abcdefgh'[n % 8] * 600}", "queue": QUEUES[n % 4]} for n in range(2_000)]
    project.rows(rows)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal that comes with it, so that the write fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]) if most > 0 else before)
    try:
        error = _full(project)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    nothing_is_kept(project)
    return error


def _full(project: Project) -> RetuneError:
    with pytest.raises(RetuneError) as caught:
        project.prepare(project.spec(label_errors="off", near_duplicates=1, split={"leak_similarity": 1}))
    (problem,) = caught.value.problems
    assert "free space" in problem.action
    return caught.value


def test_a_disk_that_is_full_while_rows_are_read(project: Project, small_disk: Callable[[int], Path]) -> None:
    home = small_disk(512)
    error = full(replace(project, settings=replace(project.settings, home=home)))
    assert isinstance(error, DataError) and f"cannot keep the rows in {home}" in str(error)


def test_a_file_that_may_not_grow_is_like_a_full_disk(project: Project) -> None:
    error = full(project, most=512 << 10)
    assert isinstance(error, DataError) and "cannot keep the rows" in str(error)


def test_a_disk_that_is_full_while_sides_are_stored(
    project: Project, small_disk: Callable[[int], Path]
) -> None:
    url = (small_disk(512) / "artifacts").as_uri()
    settings = replace(project.settings, artifacts_url=url)
    error = full(replace(project, settings=settings, artifacts=Artifacts(url)))
    assert isinstance(error, ArtifactError) and f"in {url}" in str(error)


def test_a_disk_that_is_full_while_sides_are_written(
    project: Project, small_disk: Callable[[int], Path]
) -> None:
    # Room for all rows, but not for the training side beside them.
    home = small_disk(1_700)
    error = full(replace(project, settings=replace(project.settings, home=home)))
    assert str(home) in str(error)


def test_a_training_side_of_one_label_is_refused(project: Project) -> None:
    rows = rows_of(5, 60, label_noise=0)
    for number, row in enumerate(rows):
        row.update(queue="billing" if number < 45 else "returns", day=f"2026-01-01T00:{number:02}:00")
    project.rows(rows)
    with pytest.raises(DataError, match=r"all \d+ examples have the label 'billing'.*nothing to learn"):
        project.prepare(project.spec(label_errors="off", split={"by_time": "day", "held_out": 0.3}))
