"""Where a person's words may lie beside the files that the state names."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from retune.artifacts import digest_of
from retune.erasure.command import forget as forget_command
from retune.erasure.erase import erase
from retune.erasure.rows import Rows, look, may_have_rows
from retune.errors import ArtifactError
from retune.state import artifacts_index, retrains
from retune.state.replaced import open_artifacts
from retune.text.conversations import Conversation, write_conversation
from tests.unit.data.conftest import NOW as PREPARED
from tests.unit.data.conftest import Project, project
from tests.unit.erasure.builders import (
    ANN,
    NOW,
    SECRET,
    SIDES,
    SUBJECT,
    Installed,
    everywhere,
    forget,
    hers,
    lived,
    reached,
    read,
    rows,
)

__all__ = ["project"]


def left_out(row: Conversation, **more: str) -> bytes:
    """A line on a row that the data stage left out."""
    line = {"detail": "", "file": "rows.jsonl", "line": 3, "reason": "duplicate", **more}
    return json.dumps({**line, "row": json.loads(write_conversation(row))}).encode() + b"\n"


OWN = Rows(SUBJECT, frozenset({hers("train").id}))
OTHERS = rows()["train"][0]


@pytest.mark.parametrize(
    ("line", "own"),
    [
        (write_conversation(hers("train")), True),
        (write_conversation(hers("train"))[:-20], True),
        (write_conversation(OTHERS), False),
        (write_conversation(OTHERS)[:-20], False),
        (left_out(hers("train")), True),
        (left_out(OTHERS), False),
        (left_out(OTHERS, subject=SUBJECT), True),
        (b'{"reason":"forgotten","row":null}\n', False),
        (b'{"id":"","row":[1]}\n', False),
        (b"\xff\n", False),
    ],
)
def test_a_line_is_hers_by_its_id_or_its_subject(line: bytes, own: bool) -> None:
    assert OWN.own(line) is own
    assert look([line], OWN).rows == own


def test_all_that_she_asks_in_a_row_is_looked_for_in_traffic() -> None:
    both = [left_out(hers("train")), write_conversation(hers("train"))]
    assert [look([line], OWN).prompts for line in both] == [{f"Ann asks after {SECRET} for train"}] * 2
    turns = [("user", " first  "), ("assistant", "yes"), ("user", "then"), ("assistant", "no")]
    messages = [{"role": role, "content": text} for role, text in turns]
    line = json.dumps({"id": hers("train").id, "messages": messages}).encode()
    assert look([line], OWN).prompts == {"first", "then"}


@pytest.mark.parametrize(
    ("first", "may"),
    [
        (b'{"reason":"forgotten","row":null}\n', True),
        (b'{"id":"a","messages":[', True),
        (b'{"rows":3}\n', False),
        (b"<html>\n", False),
    ],
)
def test_the_first_line_tells_files_of_rows(first: bytes, may: bool) -> None:
    assert may_have_rows(first) is may


def test_rows_that_were_left_out_are_found_also_where_no_dataset_holds_them(here: Installed) -> None:
    lived(here)
    lines = left_out(hers("train")) + left_out(OTHERS, subject=SUBJECT) + left_out(OTHERS)
    kept = here.artifacts.put_bytes(lines, "application/jsonl")
    other = here.page("validation of another", "validation", pipeline="other")
    with here.db.write() as tx:
        artifacts_index.add(tx, "other", "dropped", kept, NOW)
    found = reached(here)
    assert kept.digest not in {file.blob.digest for file in found.files}, "it is removed, once"
    # What shows it beside the rows goes as a whole, as nobody can tell what it shows.
    assert {page.digest for page in found.pages if page.pipeline == "other"} == {kept.digest, other.digest}
    forget(here)
    assert everywhere(here.settings.home) == []


def test_a_pipeline_that_does_not_say_whom_rows_are_about_is_reached_by_the_same_rows(
    here: Installed,
) -> None:
    lived(here)
    silent = here.dataset(rows(salt="other "), pipeline="silent")
    assert ("silent", silent.digest, 3, True) in [
        (one.pipeline, one.digest, one.rows, one.trained_on) for one in reached(here).datasets
    ]
    forget(here)
    with here.db.read() as tx:
        assert retrains.is_tainted(tx, silent.digest, "silent")
    assert everywhere(here.settings.home) == []


def test_working_files_of_killed_preparations_go_and_those_in_use_are_said(here: Installed) -> None:
    lived(here)
    for name, hours in (("prepare-dead", 25), ("prepare-alive", 23)):
        file = here.settings.home / name / "0.jsonl"
        file.parent.mkdir()
        file.write_text(SECRET)
        at = (NOW - timedelta(hours=hours)).timestamp()
        os.utime(file, (at, at))
    alive = here.settings.home / "prepare-alive" / "0.jsonl"
    found = forget(here)
    assert [one.path.name for one in found.left] == ["prepare-dead"]
    assert [one.path for one in found.in_use] == [alive.parent]
    assert everywhere(here.settings.home) == [alive]
    out = StringIO()
    forget_command(ANN, False, "me", here.settings, Console(file=out, width=250))
    assert "prepare-alive │ │ stays: may be in use" in " ".join(out.getvalue().split())
    assert reached(here).is_clean


@pytest.mark.parametrize("folder", ["checks", "evaluations", "answers", "embeddings"])
def test_files_of_this_host_go_whatever_pipeline_they_are_of(here: Installed, folder: str) -> None:
    lived(here)
    page = here.settings.home / folder / "never-run" / "page.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(SECRET)
    forget(here)
    assert everywhere(here.settings.home) == []


def test_rests_of_writes_that_were_cut_off_go(here: Installed) -> None:
    dataset, _ = lived(here)
    line = write_conversation(hers("train"))
    rest = Path(here.artifacts.place(digest_of(b"x"))[1] + ".0.partial")
    rest.parent.mkdir(parents=True, exist_ok=True)
    rest.write_bytes(line[:-30])
    copy = here.settings.jobs / "job-first" / "data" / ".train.jsonl.0"
    copy.write_bytes(write_conversation(OTHERS) + line[:-30])
    shipped = Path(here.capture(["Ann asks after the heirloom for train", "x"], NOW + timedelta(seconds=1)))
    shipped.rename(f"{shipped}.partial")
    forget(here)
    assert everywhere(here.settings.home) == []
    assert not rest.exists() and not Path(f"{shipped}.partial").exists()
    assert copy.read_bytes() == write_conversation(OTHERS)


def test_what_cannot_be_removed_is_said_and_goes_the_next_time(
    here: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(here)

    def refuse(*_: object) -> None:
        raise PermissionError("not yours")

    with monkeypatch.context() as patch:
        patch.setattr(os, "remove", refuse)
        with pytest.raises(ArtifactError, match="could be removed: not yours -> mend"):
            forget(here)
    assert everywhere(here.settings.home)
    forget(here)
    assert everywhere(here.settings.home) == []


def test_what_the_data_stage_really_writes_is_found(project: Project) -> None:
    queues = ("billing", "shipping")
    words = ("order", "parcel", "refund", "router", "salary", "garden", "violin", "museum")
    given = [
        {"text": f"{words[n % 8]} {n} {words[n // 8 % 8]}?", "queue": queues[n % 2], "who": f"person {n}"}
        for n in range(60)
    ]
    given += [{"text": f"Ann asks after {SECRET} {n}", "queue": "billing", "who": ANN} for n in range(8)]
    given.append(given[-1])
    project.rows(given)
    columns = {"prompt": "text", "completion": "queue", "subject": "who"}
    dataset = project.prepare(project.spec(columns=columns, near_duplicates=1, privacy="allow"))
    assert dataset.dropped["duplicate"] == 1 and len(everywhere(project.settings.home)) > 3
    some = {"settings": project.settings, "db": project.db, "artifacts": project.artifacts}
    found = erase(SUBJECT, "me", now=PREPARED, report=lambda line: None, **some)
    assert [one.rows for one in found.datasets] == [8]
    assert everywhere(project.settings.home) == []
    artifacts = open_artifacts(project.settings, project.db)
    sides = (getattr(dataset, side).artifact.digest for side in SIDES)
    assert sum(len(read(artifacts.get_bytes(digest))) for digest in sides) == 60
