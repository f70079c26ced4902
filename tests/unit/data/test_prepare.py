from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from retune.errors import ArtifactError, DataError
from retune.records import Exchange
from retune.state import artifacts_index, dataset_records, splits
from retune.text.traffic import dump, exchange_path
from tests.unit.data.conftest import NOW, Project

Rows = Callable[[int, int], list[dict[str, Any]]]
SIDES = ("train", "validation", "held_out")


def test_rows_become_a_registered_dataset(project: Project, tickets: Rows) -> None:
    project.rows([*tickets(0, 100), {"text": "", "queue": "billing"}])
    spec = project.spec(system_prompt="Answer with the queue.")
    lines: list[str] = []
    dataset = project.prepare(spec, lines)
    sides = [project.read(getattr(dataset, side)) for side in SIDES]
    assert [len(side) for side in sides] == [getattr(dataset, side).rows for side in SIDES] == [68, 12, 20]
    assert len({row.fingerprint for side in sides for row in side}) == 100
    assert [turn.role for turn in sides[0][0].messages] == ["system", "user", "assistant"]
    assert dataset.labels == ("account", "billing", "returns", "shipping")
    assert (dataset.rows_read, dataset.dropped["empty"], list(dataset.sources)) == (101, 1, ["rows.jsonl"])
    assert dataset.spec_digest == spec.digest
    with project.db.read() as tx:
        assert dataset_records.latest(tx, "tickets") == dataset
        page = artifacts_index.find(tx, "tickets", dataset.validation_page.digest)
        assert len(splits.assigned(tx, "tickets")) == 100
    assert page is not None and page.media_type == "text/html"
    assert any("kept 100 examples; dropped 1 empty" in line for line in lines)


def test_the_same_rows_are_the_same_dataset(project: Project, tickets: Rows) -> None:
    rows = tickets(0, 60)
    project.rows(rows)
    first = project.prepare()
    shuffled = random.Random(1).sample(rows, 60)
    project.rows(shuffled[:20])
    project.rows(shuffled[20:], "more.jsonl")
    again = project.prepare(project.spec("*.jsonl"))
    assert again.digest == first.digest
    assert again.sources != first.sources


def test_rows_that_come_later_move_none(project: Project, tickets: Rows) -> None:
    project.rows(tickets(0, 80))
    first = project.prepare()
    project.rows(tickets(80, 120), "later.jsonl")
    second = project.prepare(project.spec("*.jsonl"))
    assert second.digest != first.digest
    for side in SIDES:
        before = {row.id for row in project.read(getattr(first, side))}
        after = {row.id for row in project.read(getattr(second, side))}
        assert before < after


def test_a_relabelled_held_out_question_is_never_trained_on(project: Project, tickets: Rows) -> None:
    rows = tickets(0, 80)
    project.rows(rows)
    judged = {row.prompt for row in project.read(project.prepare().held_out)}
    for row in rows:
        row["queue"] = "account" if row["queue"] == "billing" else row["queue"]
    project.rows(rows)
    trained = {row.prompt for row in project.read(project.prepare().train)}
    assert not judged & trained


def test_a_failed_suite_keeps_its_page_with_hostile_text_escaped(project: Project, tickets: Rows) -> None:
    planted = '<script>alert("x")</script>'
    project.rows([*tickets(0, 60), {"text": planted, "queue": "<img src=x onerror=alert(1)>"}])
    allowed = ["billing", "shipping", "returns", "account"]
    project.suite(
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "queue", "value_set": allowed}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "text", "regex": "^ticket"}},
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 100}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "customer"}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "text"}},
    )
    with pytest.raises(DataError) as caught:
        project.prepare()
    said = {problem.what for problem in caught.value.problems}
    assert len(said) == 4
    for name, seen in {
        "be_in_set(column='queue'": "1 of 61 rows (1.64%) that break it, such as '<img src=x",
        "match_regex(column='text'": "such as '<script>",
        "row_count_to_be_between(min_value=100)": "observed 61",
        "not_be_null(column='customer')": 'column "customer" in BatchData does not exist',
    }.items():
        assert [what for what in said if name in what and seen in what], name
    (digest,) = {problem.action.rsplit(" ", 1)[1] for problem in caught.value.problems}
    with project.db.read() as tx:
        assert artifacts_index.find(tx, "tickets", digest) is not None
        assert dataset_records.latest(tx, "tickets") is None
        assert splits.assigned(tx, "tickets") == {}
    page = project.artifacts.get_bytes(digest).decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert(" in page
    assert "<img src=x" not in page and "&lt;img src=x" in page


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ("{", "not a Great Expectations suite"),
        ("[]", "not a Great Expectations suite"),
        ('{"expectations": [{"type": "expect_column_values_to_be_lovely", "kwargs": {}}]}', "lovely"),
        (
            '{"expectations": [{"type": "expect_column_to_exist", "kwargs": {"colunm": "a"}}]}',
            "expectation 1",
        ),
    ],
)
def test_a_suite_that_cannot_be_used_is_named(
    project: Project, tickets: Rows, suite: str, words: str
) -> None:
    project.rows(tickets(0, 20))
    path = project.write("suite.json", suite)
    with pytest.raises(DataError, match=words) as caught:
        project.prepare()
    assert caught.value.problems[0].file == str(path)


def test_a_missing_suite_is_named(project: Project, tickets: Rows) -> None:
    project.rows(tickets(0, 20))
    (project.root / "suite.json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        project.prepare()


def test_too_few_rows_and_single_labels_are_told_together(project: Project) -> None:
    project.rows([{"text": f"t {n}", "queue": queue} for n, queue in enumerate(["a"] * 7 + ["b"])])
    with pytest.raises(DataError) as caught:
        project.prepare()
    assert [problem.what for problem in caught.value.problems] == [
        "8 examples are left, and data.min_examples is 10 (dropped: none)",
        "one example only for 1 labels: 'b'",
    ]


def test_one_label_only(project: Project) -> None:
    project.rows([{"text": f"t {n}", "queue": "a"} for n in range(30)])
    with pytest.raises(DataError, match="all 30 examples have the label 'a'"):
        project.prepare()


def test_no_empty_side(project: Project) -> None:
    project.rows([{"text": f"t {n}", "queue": f"q{n % 6}"} for n in range(12)])
    with pytest.raises(DataError, match="no example of 12 for validation"):
        project.prepare()
    with project.db.read() as tx:
        assert splits.assigned(tx, "tickets") == {}


def test_a_store_that_cannot_be_written_registers_nothing(project: Project, tickets: Rows) -> None:
    project.rows(tickets(0, 40))
    settings_home = project.settings.home / "artifacts"
    settings_home.write_text("a file where the folder should be")
    with pytest.raises(ArtifactError, match="cannot store"):
        project.prepare()
    with project.db.read() as tx:
        assert dataset_records.latest(tx, "tickets") is None


def test_a_canonical_line_is_what_trainers_read(project: Project, tickets: Rows) -> None:
    project.rows(tickets(0, 40))
    data = project.artifacts.get_bytes(project.prepare().held_out.artifact.digest)
    rows = [json.loads(line) for line in data.splitlines()]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert set(rows[0]) == {"id", "messages"}


def test_the_card_compares_the_rows_with_what_callers_asked(project: Project, tickets: Rows) -> None:
    project.rows([{**row, "text": f"{row['text']} about my parcel"} for row in tickets(0, 120)])
    at = NOW - timedelta(days=1)
    some = {"at": at, "pipeline": "tickets", "alias": "tickets", "release": 1, "model_digest": "sha256:0"}
    said = {"answer": "billing", "status": 200, "latency_ms": 1.0}
    asked = [Exchange(**some, **said, prompt=f"urgent outage {number}") for number in range(60)]
    path = exchange_path("tickets", at, "agent", int(at.timestamp() * 1e9))
    file = project.write(f"{project.settings.captured_url.removeprefix('file://')}/{path}", dump(asked))
    dataset = project.prepare(project.spec(split={"leak_similarity": 1}))
    assert dataset.figures and dataset.card
    traffic = json.loads(project.artifacts.get_bytes(dataset.figures.digest))["traffic"]
    assert traffic["traffic"] == 60 and traffic["auc"] > 0.9 and "urgent" in traffic["in_traffic"]
    assert "very unlike the captured traffic" in project.artifacts.get_bytes(dataset.card.digest).decode()
    # A file that cannot be read stops no training.
    file.write_bytes(b"{}\n" + dump(asked))
    lines: list[str] = []
    again = project.prepare(project.spec(split={"leak_similarity": 1}), lines)
    assert again.digest == dataset.digest
    assert [line for line in lines if "captured traffic cannot be read" in line and file.name in line]


def test_what_is_left_at_the_end_must_be_enough_too(project: Project, tickets: Rows) -> None:
    project.rows(tickets(0, 80))
    with pytest.raises(DataError, match=r"40 examples are left, and data.min_examples is 60 .*40 capped"):
        project.prepare(project.spec(min_examples=60, caps={"label": 10}))
