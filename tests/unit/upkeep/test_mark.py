"""What may go is exactly what nothing points at and no `retention` keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings

from retune.records import JobStatus
from retune.spec.retention import Retention
from retune.state.jobs import JobRow
from retune.stored import Blob, Scratch
from retune.upkeep.listing import Folder, Listing
from retune.upkeep.mark import mark
from retune.upkeep.view import DatasetRow, IndexRow, JobEnd, View
from tests.unit.upkeep.graphs import NOW, PIPELINE, Graph, digest, graphs, model


@settings(max_examples=200)
@given(graphs())
def test_nothing_that_is_reached_goes_and_all_else_does(graph: Graph) -> None:
    plan = mark(graph.view, Listing(blobs=tuple(graph.stored)), graph.trees, NOW)
    gone = {blob.digest for blob, _ in plan.blobs}
    assert gone & graph.reached(graph.must) == set()
    everything = {blob.digest for blob in graph.stored}
    assert everything - graph.reached(graph.must, graph.may) - gone == set()
    assert {digest("lost"), digest("lost too")} <= gone
    assert {one for _, one in plan.pages} <= gone, "no page is unlisted that stays"
    order = [blob.digest for blob, _ in plan.blobs]
    for manifest in graph.view.trees & gone:
        for file in gone.intersection(graph.trees[manifest]):
            assert order.index(manifest) < order.index(file), "a named tree is whole"


def page(days: float, kind: str = "evaluation", name: str = "page") -> IndexRow:
    return IndexRow(PIPELINE, digest(name), kind, NOW - timedelta(days=days))


def view(**changed: object) -> View:
    retention = Retention.model_validate(
        {"reports": "2d", "captured": "3d", "models": {"keep": 1}} | {k: v for k, v in changed.items()}
    )
    return View(retention={PIPELINE: retention})


@pytest.mark.parametrize(
    ("reports", "days", "goes"),
    [("2d", 1.9, False), ("2d", 2.1, True), ("30d", 2.1, False), ("1s", 0.9, False), ("1s", 1.1, True)],
)
def test_reports_stay_as_long_as_the_spec_says_and_at_least_a_day(
    reports: str, days: float, goes: bool
) -> None:
    here = view(reports=reports)
    here.index = [page(days), page(0, name="newest")]
    listing = Listing(blobs=(Blob(digest("page"), 7, "p"), Blob(digest("newest"), 7, "n")))
    plan = mark(here, listing, {}, NOW)
    assert [(blob.digest, why) for blob, why in plan.blobs] == (
        [(digest("page"), f"evaluation older than {reports}")] if goes else []
    )
    assert plan.pages == (((PIPELINE, digest("page")),) if goes else ())


def test_the_newest_page_of_a_kind_stays_however_old() -> None:
    here = view()
    here.index = [page(50, name="old"), page(40, name="newest"), page(60, "outcomes", "answers")]
    listing = Listing(blobs=tuple(Blob(row.digest, 7, row.digest) for row in here.index))
    assert [blob.digest for blob, _ in mark(here, listing, {}, NOW).blobs] == [digest("old")]


@pytest.mark.parametrize(("captured", "goes"), [("3d", ["2026-11-19"]), ("4d", []), ("1s", ["2026-11-19"])])
def test_captured_days_go_as_a_whole_once_their_last_request_is_old(captured: str, goes: list[str]) -> None:
    days = [Folder(PIPELINE, f"c/{day}", 9, NOW.date().replace(day=day)) for day in (19, 22, 23)]
    plan = mark(view(captured=captured), Listing(traffic=tuple(days)), {}, NOW)
    assert [str(day.day) for day, _ in plan.traffic] == goes


def test_answers_go_with_the_reports() -> None:
    files = [Folder(PIPELINE, f"a/{day}", 9, NOW.date() - timedelta(days=day)) for day in (1, 2, 3)]
    plan = mark(view(), Listing(answers=tuple(files)), {}, NOW)
    assert [(file.path, why) for file, why in plan.answers] == [("a/3", "answers older than 2d")]


def test_answers_of_yesterday_stay_however_short_reports_do() -> None:
    days = [Folder(PIPELINE, f"a/{day}", 9, NOW.date() - timedelta(days=day)) for day in (0, 1, 2)]
    plan = mark(view(reports="1h"), Listing(answers=tuple(days)), {}, NOW)
    assert [file.path for file, _ in plan.answers] == ["a/2"], "an evaluation may go on past midnight"


def test_traffic_of_a_pipeline_that_is_not_known_is_not_ours() -> None:
    day = Folder("else", "c", 9, NOW.date().replace(year=2020))
    assert mark(view(), Listing(traffic=(day,)), {}, NOW).traffic == ()


def job(status: JobStatus, days: float | None, with_model: bool = False) -> JobEnd:
    made = model(0) if with_model else None
    row = JobRow("job", PIPELINE, "local", 1, status, {"dataset": digest("d")}, None, made, "")
    return JobEnd(row, None if days is None else NOW - timedelta(days=days))


FOLDER = Folder("job", "jobs/job", 5)
MODEL = Blob(digest("model 0"), 5, "m")


@pytest.mark.parametrize(
    ("end", "stored", "goes"),
    [
        (job(JobStatus.RUNNING, None), False, False),
        (job(JobStatus.FAILED, 0.9), False, False),
        (job(JobStatus.FAILED, 1.1), False, True),
        (job(JobStatus.SUCCEEDED, 1.1, with_model=True), True, True),
        (job(JobStatus.SUCCEEDED, 1.1, with_model=True), False, False),
    ],
)
def test_job_folders_go_a_day_after_the_end_and_never_the_last_copy_of_a_model(
    end: JobEnd, stored: bool, goes: bool
) -> None:
    here = view()
    here.jobs = [end]
    here.placed = {digest("model 0")}
    listing = Listing(jobs=(FOLDER, replace(FOLDER, name="not a job of ours")), blobs=(MODEL,) * stored)
    plan = mark(here, listing, {}, NOW)
    assert [folder.name for folder, _ in plan.jobs] == ["job"] * goes
    assert plan.blobs == ()


def test_a_rest_goes_whatever_it_was_to_become() -> None:
    here = view()
    here.placed = {MODEL.digest}
    rest = Blob(MODEL.digest, 3, "m.0.partial", partial=True)
    plan = mark(here, Listing(blobs=(MODEL, rest)), {}, NOW)
    assert plan.blobs == ((rest, "rest of a write that was cut off"),)


def test_working_files_go_a_day_after_the_last_write() -> None:
    some = tuple(Scratch(Path(f"prepare-{hours}"), 4, NOW - timedelta(hours=hours)) for hours in (1, 23, 25))
    plan = mark(view(), Listing(scratch=some), {}, NOW)
    assert [(one.path.name, why) for one, why in plan.scratch] == [
        ("prepare-25", "left by a process that was killed")
    ]
    assert plan.size == 4


def test_whom_rows_are_about_is_known_as_long_as_a_file_of_theirs_lies_somewhere() -> None:
    here = view()
    old = DatasetRow(
        PIPELINE, digest("d"), {"train": digest("t"), "held_out": digest("h")}, NOW - timedelta(days=50)
    )
    latest = DatasetRow(
        PIPELINE, digest("latest"), {"train": digest("u"), "held_out": digest("h")}, NOW - timedelta(days=40)
    )
    here.datasets = [old, latest]
    here.successors = {digest("t"): digest("t without her")}
    here.jobs = [job(JobStatus.FAILED, 40)]
    gone = ((PIPELINE, digest("d")),)
    shared = Blob(digest("h"), 1, "h")
    assert mark(here, Listing(blobs=(shared,)), {}, NOW).datasets == gone
    for there in (
        Listing(blobs=(Blob(digest("t"), 1, "t"),)),
        Listing(blobs=(Blob(digest("t without her"), 1, "t"),)),
        Listing(jobs=(FOLDER,)),
    ):
        assert mark(here, there, {}, NOW).datasets == ()
    here.datasets = [replace(old, at=NOW - timedelta(days=3)), replace(latest, at=NOW)]
    assert mark(here, Listing(), {}, NOW).datasets == (), "answers to its rows may be younger"


PART = digest("part")


def test_whom_a_part_was_about_is_dropped_once_nothing_is_left_of_it() -> None:
    here = view()
    here.reached = [(PIPELINE, PART)]
    assert mark(here, Listing(), {}, NOW).datasets == ((PIPELINE, PART),)


@pytest.mark.parametrize("left", ["its page", "its bytes", "its folder", "its model", "its training"])
def test_whom_a_part_was_about_is_known_as_long_as_there_is(left: str) -> None:
    here, listing = view(), Listing()
    here.reached = [(PIPELINE, PART)]
    ended = job(JobStatus.SUCCEEDED, None if left == "its training" else 9, with_model=True)
    on_it = replace(ended, row=replace(ended.row, intent={"dataset": PART}))
    if left == "its page":
        here.index = [page(1, "asked", "part"), page(0, "asked", "newest")]
    elif left == "its bytes":
        listing = Listing(blobs=(Blob(PART, 7, "p"),))
    elif left == "its folder":
        here.jobs, listing = [on_it], Listing(jobs=(FOLDER,))
    elif left == "its model":
        here.jobs, listing = [on_it], Listing(blobs=(MODEL,))
    else:
        here.jobs = [on_it]
    assert mark(here, listing, {}, NOW).datasets == ()
