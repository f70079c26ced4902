"""The words of `retune evaluate` and `retune compare` are read with care."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.evaluating.asked import asked_of, check_places
from retune.evaluating.questions import Questions
from retune.records import Attributes, Split
from retune.text.conversations import conversation, read_conversations, write_conversations
from tests.evaluating import make_project, rows_of, run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://ann:pa55@host"), "holds a user, a password or a query"),
        (("--url", "http://host/?key=pa55"), "holds a user, a password or a query"),
        (("--url", "ftp://host"), "is no web address"),
        (("--url", "http://host", "--connection", "vllm"), "both --url and --connection are given"),
        (("--strategy", "magic"), "--strategy 'magic' is none -> take plain, few_shot, rag"),
        (("--set", "train"), "--set 'train' is none -> take held_out or validation"),
        (("--rows", "gone.jsonl"), "gone.jsonl"),
        (
            ("--rows", "rows.jsonl", "--url", "http://host", "--out", "rows.jsonl"),
            "cannot write to rows.jsonl",
        ),
        (("--rows", "rows.jsonl"), "set RETUNE_ENDPOINT_VLLM to its URL"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    spec = ("include/pipelines/tickets.yaml", "--model", "good")
    assert run(monkeypatch, "evaluate", *spec, *words) == 1
    told = capfd.readouterr()
    assert said in told.err and "pa55" not in told.err + told.out and "Traceback" not in told.err


def test_options_given_once_hold_for_both() -> None:
    one, other = asked_of(["a", "b"], ["http://host"], [], [])
    assert (one.place, other.place, one.strategy) == ("http://host", "http://host", "plain")
    one, other = asked_of(["a", "a"], [], ["x", "y"], ["plain", "rag"])
    assert (one.place, other.place, other.title) == ("x", "y", "a (rag)")
    check_places([one, other])


def test_growing_parts_keep_groups_together_and_end_with_the_whole(tmp_path: Path) -> None:
    artifacts = Artifacts((tmp_path / "store").as_uri())
    rows = [conversation("", row["text"], row["queue"]) for row in rows_of(range(130))]
    lines = [
        Attributes(id=row.id, group=f"customer {index // 7}").model_dump_json() + "\n"
        for index, row in enumerate(rows)
    ]
    split = Split(
        artifact=artifacts.put_bytes(write_conversations(rows), "application/jsonl"),
        rows=len(rows),
        attributes=artifacts.put_bytes("".join(lines).encode(), "application/jsonl"),
    )
    questions = Questions("held_out", split, (), None, artifacts, "", "")
    parts = questions.beginnings(7)
    asked_for = [
        {row.id for row in read_conversations(artifacts.get_bytes(part.artifact.digest))} for part in parts
    ]
    assert all(one < other for one, other in zip(asked_for, asked_for[1:], strict=False))
    assert asked_for[-1] == {row.id for row in rows}
    groups = {row.id: index // 7 for index, row in enumerate(rows)}
    for some in asked_for:
        begun = {groups[name] for name in some}
        assert some == {name for name, group in groups.items() if group in begun}
    assert parts == questions.beginnings(7) != questions.beginnings(8)
