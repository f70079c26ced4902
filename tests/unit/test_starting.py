from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from rich.console import Console

from retune.checking import check
from retune.errors import DataError, SpecError
from retune.settings import Settings
from retune.spec import load_spec
from retune.starting import start

BANKING = Path(__file__).resolve().parents[3] / "shared" / "data" / "banking77" / "train.csv"
WORDS = (
    "alpha bravo cedar delta ember fable grove haven ivory jolly kiosk lemon mango noble ocean piano".split()
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "include" / "pipelines").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    options = {"project": str(tmp_path), "home": str(tmp_path / ".retune")}
    return Settings.load(options.get)


def words(number: int) -> str:
    """Return a text that is like no other's."""
    return (
        " ".join(WORDS[(number * step + step) % 16] for step in range(3, 10))
        + f" {number:x} {number * 7919:x}"
    )


def chat(number: int) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": words(number)},
        {"role": "assistant", "content": f"See {words(number + 1)}"},
    ]
    return {"messages": [{"role": "system", "content": "Be brief."}, *turns], "user_id": f"u{number % 60}"}


def preference(number: int) -> dict[str, Any]:
    return {"prompt": words(number), "chosen": f"Yes, {words(number + 1)}", "rejected": "No."}


def lines(row: Callable[[int], dict[str, Any]], count: int = 300) -> bytes:
    return "".join(json.dumps(row(number)) + "\n" for number in range(count)).encode()


def begin(project: Settings, data: bytes, file: str = "rows.jsonl", **more: Any) -> str:
    (project.project / file).write_bytes(data)
    console = Console(file=io.StringIO(), width=200)
    start("my-model", [file], project, console, **more)
    return console.file.getvalue()  # type: ignore[attr-defined]


SPEC, SUITE = "include/pipelines/my-model.yaml", "include/expectations/my_model.json"


def test_it_says_each_guess_with_its_evidence(project: Settings) -> None:
    said = begin(project, lines(chat))
    assert "format: chat (300 of 300 rows have messages)" in said
    assert "rows that stay together: user_id (60 different values in 300 rows)" in said
    assert "task: generation" in said
    assert f"retune check {project.project / SPEC}" in said


@pytest.mark.parametrize(("row", "shape"), [(chat, "chat"), (preference, "preference")])
def test_check_accepts_what_was_written(
    project: Settings, row: Callable[[int], dict[str, Any]], shape: str
) -> None:
    begin(project, lines(row))
    spec = load_spec(project.project / SPEC)
    assert (spec.data.format, spec.task.kind) == (shape, "generation")
    assert spec.data.expectations == SUITE
    console = Console(file=io.StringIO(), width=200)
    check(project.project / SPEC, project, console)
    assert "my-model can run" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.skipif(not BANKING.exists(), reason="../shared is not here: no BANKING77")
def test_check_accepts_a_part_of_banking77(project: Settings) -> None:
    # Every fifth row: all 77 intents in a fifth of the time.
    with BANKING.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    with (project.project / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows[::5]])
    console = Console(file=io.StringIO(), width=200)
    start("my-model", ["train.csv"], project, console)
    spec = load_spec(project.project / SPEC)
    assert (spec.data.columns.prompt, spec.data.columns.completion) == ("text", "category")
    assert spec.task.kind == "classification" and len(spec.task.labels) == 77
    check(project.project / SPEC, project, console)
    assert "my-model can run" in console.file.getvalue()  # type: ignore[attr-defined]


def test_packed_files_tables_and_several_of_them_are_read(project: Settings) -> None:
    import polars as pl

    rows = [{"text": words(number), "label": "ab"[number % 2]} for number in range(100)]
    plain = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (project.project / "a.jsonl.gz").write_bytes(gzip.compress(plain))
    (project.project / "b.jsonl.zst").write_bytes(zstandard.compress(plain))
    pl.DataFrame(rows).write_csv(project.project / "c.csv")
    pl.DataFrame(rows).write_parquet(project.project / "d.parquet")
    console = Console(file=io.StringIO(), width=200)
    names = ["a.jsonl.gz", "b.jsonl.zst", "c.csv", str(project.project / "d.parquet")]
    start("my-model", names, project, console)
    assert "2 different answers in all 400 rows" in console.file.getvalue()  # type: ignore[attr-defined]
    assert load_spec(project.project / SPEC).data.sources == (*names[:3], "d.parquet")


def test_a_file_outside_of_the_project_is_named_by_its_whole_path(
    project: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("elsewhere") / "rows.jsonl"
    file.write_bytes(lines(preference))
    start("my-model", [str(file)], project, Console(file=io.StringIO()))
    assert load_spec(project.project / SPEC).data.sources == (str(file),)


def test_lines_that_cannot_be_read_are_named(project: Settings) -> None:
    said = begin(project, lines(chat) + b"{\n" * 7)
    assert "cannot be read: rows.jsonl:301 (invalid JSON" in said
    assert "rows.jsonl:305" in said and "rows.jsonl:306" not in said
    assert "2 lines more" in said


def test_nothing_is_written_over(project: Settings) -> None:
    begin(project, lines(chat))
    before = (project.project / SPEC).read_bytes()
    (project.project / SUITE).write_text("mine")
    with pytest.raises(DataError) as caught:
        begin(project, lines(preference))
    assert str(project.project / SPEC) in str(caught.value) and str(project.project / SUITE) in str(
        caught.value
    )
    assert "--force" in str(caught.value)
    assert (project.project / SPEC).read_bytes() == before and (project.project / SUITE).read_text() == "mine"
    begin(project, lines(preference), force=True)
    assert load_spec(project.project / SPEC).data.format == "preference"
    json.loads((project.project / SUITE).read_text())


def test_one_file_that_is_there_is_enough_to_refuse(project: Settings) -> None:
    (project.project / "include" / "expectations").mkdir()
    (project.project / SUITE).write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        begin(project, lines(chat))
    assert not (project.project / SPEC).exists()


@pytest.mark.parametrize("mine", [None, b"mine"])
def test_both_files_are_written_or_neither(project: Settings, mine: bytes | None) -> None:
    if mine:
        (project.project / "include" / "expectations").mkdir()
        (project.project / SUITE).write_bytes(mine)
    # The spec is the second to be written, and cannot be: a folder has its name.
    (project.project / SPEC).mkdir()
    (project.project / SPEC / "x").touch()
    with pytest.raises(DataError, match="nothing was written"):
        begin(project, lines(chat), force=True)
    found = (project.project / SUITE).read_bytes() if (project.project / SUITE).exists() else None
    assert found == mine


@pytest.mark.parametrize("name", ["Tickets", "a b", "", "x" * 41, "retune", "../x", "a\n"])
def test_a_name_that_no_pipeline_can_have(project: Settings, name: str) -> None:
    (project.project / "rows.jsonl").write_bytes(lines(chat))
    with pytest.raises(SpecError, match="cannot name a pipeline"):
        start(name, ["rows.jsonl"], project, Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "hold no row"),
        (b"\n\n", "hold no row"),
        (b'{"text": "x"}\n', "no two columns"),
        (b"{", "hold no row"),
    ],
)
def test_data_that_say_nothing_write_nothing(project: Settings, data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        begin(project, data)
    assert not (project.project / SPEC).exists() and not (project.project / SUITE).exists()


def test_a_file_that_is_not_there(project: Settings) -> None:
    with pytest.raises(DataError, match="no file 'gone.csv'"):
        start("my-model", ["gone.csv"], project, Console(file=io.StringIO()))
