"""The words of `retune evaluate` and `retune compare` are read with care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.evaluating.asked import GivenConnections, asked_of, check_places, drop_answers
from retune.evaluating.command import sentence
from retune.evaluating.questions import Questions
from retune.evaluation.answers import answers_of
from retune.evaluation.contenders import likelihoods_for
from retune.evaluation.evidence import Evidence
from retune.evaluation.prompting.base import Plain
from retune.evaluation.respondents import Answer
from retune.records import Attributes, Contender, MetricValue, Outcome, Split
from retune.settings import Settings
from retune.stats.units import units
from retune.text.conversations import conversation, read_conversations, write_conversations
from tests.evaluating import make_project, rows_of, run
from tests.unit.evaluation.builders import outcomes
from tests.unit.evaluation.page_builders import measured, with_spec


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://ann:pa55@host"), "holds a user, a password, a query or a fragment"),
        (("--url", "http://host/?key=pa55"), "holds a user, a password, a query or a fragment"),
        (("--url", "http://host/#pa55"), "holds a user, a password, a query or a fragment"),
        (("--url", "ftp://host"), "is no web address"),
        (("--url", "ann:pa55@host"), "--url is no web address -> give http(s)://HOST"),
        (("--url", "http://[::1"), "is no web address"),
        (("--url", "http://host:pa55"), "is no web address"),
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


@pytest.mark.parametrize("seed", range(5))
def test_one_and_the_same_bettor_stands_behind_every_look(tmp_path: Path, seed: int) -> None:
    artifacts = Artifacts((tmp_path / "store").as_uri())
    rows = [conversation("", row["text"], row["queue"]) for row in rows_of(range(400))]
    # One customer asked 30 times, all others once.
    groups = {row.id: "often" if index < 30 else "" for index, row in enumerate(rows)}
    lines = [Attributes(id=name, group=group).model_dump_json() + "\n" for name, group in groups.items()]
    split = Split(
        artifact=artifacts.put_bytes(write_conversations(rows), "application/jsonl"),
        rows=len(rows),
        attributes=artifacts.put_bytes("".join(lines).encode(), "application/jsonl"),
    )
    parts = Questions("held_out", split, (), None, artifacts, "", "").beginnings(seed)
    asked = [read_conversations(artifacts.get_bytes(part.artifact.digest)) for part in parts]
    assert {units([0.0] * len(some), [groups[row.id] for row in some]).largest for some in asked} == {30}
    assert len(asked[-1]) == 400


def compared(first: list[Outcome], second: list[Outcome], **figure: Any) -> tuple[bool, str]:
    """Say which of two is better, as `retune compare` does."""
    found = {"A": first, "B": second}
    reports = {name: measured(name, rows, **figure) for name, rows in found.items()}
    spec = with_spec({"gate": {"metric": next(iter(figure["metrics"]))}} if figure else {})
    return sentence(Evidence(spec, reports, found, subject="A", two_sided=True))


def test_nobody_wins_by_the_other_ones_server() -> None:
    good, broken = outcomes([True] * 100), outcomes([True] * 100, failed=50)
    for pair in ((good, broken), (broken, good)):
        settled, said = compared(*pair)
        assert (
            not settled and "50 of 100 calls of" in said and "gate.max_failed allows a share of 0.01" in said
        )
    assert not compared(outcomes([True] * 100, failed=1), good)[0]


def test_the_better_one_of_a_metric_of_which_less_is_better() -> None:
    def scored(score: float) -> list[Outcome]:
        return [one.model_copy(update={"scores": {"errors": score}}) for one in outcomes([True] * 60)]

    figure = {"errors": MetricValue(value=0.5, low=0.4, high=0.6, n=60, higher_is_better=False)}
    settled, said = compared(scored(0.1), scored(0.8), metrics=figure)
    assert settled and said.startswith("A is better")


def test_likelihoods_of_a_model_known_by_name_do_not_outlive_a_run(tmp_path: Path) -> None:
    settings, spec = Settings.load({"project": str(tmp_path)}.get), with_spec({})
    for digest, stays in (("", False), ("sha256:1", True)):
        contender = Contender(
            spec_digest="d",
            name="m",
            model_name="m",
            model_digest=digest,
            place={"connection": "http://host"},
        )
        respondent = likelihoods_for(contender, spec, GivenConnections())
        assert respondent is not None
        kept = answers_of(settings, spec.pipeline, respondent, digest)
        kept.add("key", Answer('{"logprob":-1.0,"tokens":1}', "", 0.1))
        kept.flush()
        drop_answers([(contender, Plain())], spec, settings)
        assert kept.path.exists() == stays
