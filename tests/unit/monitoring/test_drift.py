"""Drift: the usual traffic is quiet, the moved batch is not, and no page carries a request."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.errors import ArtifactError, DataError
from retune.monitoring.drift import check_drift
from retune.records import DriftReport
from retune.testing.tickets import tickets
from tests.unit.monitoring.builders import NOW, SPEC, Pair, judged_on, outcome, release, stored, traffic

HOSTILE = "</script><script>alert('planted')</script>"


def usual(count: int, seed: int) -> list[Pair]:
    return [(row["text"], row["queue"]) for row in tickets(count, seed)]


def moved(count: int) -> list[Pair]:
    return [(row["text"], "technical") for row in tickets(count, 23, moved=True)]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    folder: Path = tmp_path_factory.mktemp("artifacts")
    return Artifacts(folder.as_uri())


def check(held_out: list[Pair], window: list[Pair], artifacts: Artifacts) -> DriftReport:
    return check_drift(judged_on(held_out, artifacts), SPEC, traffic(window), artifacts=artifacts, now=NOW)


def test_the_usual_traffic_does_not_fire_whatever_lies_among_it(artifacts: Artifacts) -> None:
    window = [*usual(200, 5), ("", "billing"), ("x " * 300_000, "billing"), ("\x00\ufeff", "no such label")]
    report = check(usual(250, 7), window, artifacts)
    assert not report.drifted, report.reason
    assert (report.reference_rows, report.window_rows) == (250, 203)
    assert {column.name for column in report.columns} == {
        "prompt length",
        "sentences",
        "non-letters (%)",
        "unknown words (%)",
        "predicted label",
        "content",
    }


def test_free_texts_are_compared_by_their_length(artifacts: Artifacts) -> None:
    free = SPEC.model_copy(update={"task": SPEC.task.model_copy(update={"kind": "generation"})})
    held_out = [(prompt, f"answer {number % 7}") for number, (prompt, _) in enumerate(usual(250, 7))]
    window = [(prompt, f"other {number}") for number, (prompt, _) in enumerate(usual(200, 5))]
    release = judged_on(held_out, artifacts)
    usual_report = check_drift(release, free, traffic(window), artifacts=artifacts, now=NOW)
    assert "predicted label" not in {column.name for column in usual_report.columns}
    longer = [(prompt, f"{answer} {'and more ' * 9}") for prompt, answer in window]
    report = check_drift(release, free, traffic(longer), artifacts=artifacts, now=NOW)
    lengths = next(column for column in report.columns if column.name == "answer length")
    assert lengths.drifted


def test_held_out_requests_that_come_again_and_again_do_not_fire(artifacts: Artifacts) -> None:
    held_out = usual(250, 7)
    window = random.Random(3).choices(held_out[:120], k=600)
    assert not check(held_out, window, artifacts).drifted


def test_the_moved_batch_fires_and_the_page_carries_no_request(artifacts: Artifacts) -> None:
    held_out = [(prompt, HOSTILE if label == "billing" else label) for prompt, label in usual(250, 7)]
    window = [(f"{prompt} {HOSTILE}", answer) for prompt, answer in moved(200)]
    report = check(held_out, window, artifacts)
    assert report.drifted
    assert "unknown words (%): mean" in report.reason
    assert "\n" not in report.reason
    assert report.window_end == NOW
    assert report.report.media_type == "text/html"
    page = artifacts.get_bytes(report.report.digest).decode()
    assert "<script>alert(" not in page
    assert not any(prompt in page for prompt, _ in [*held_out, *window] if len(prompt) > 12)
    assert report.reason.split(":")[0] in page
    again = check(held_out, window, artifacts)
    assert (again.columns, again.reason) == (report.columns, report.reason)


def test_too_few_requests_say_nothing(artifacts: Artifacts) -> None:
    report = check(usual(250, 7), moved(12), artifacts)
    assert not report.drifted
    assert report.reason == "only 12 of 100 requests since release 3"
    assert report.columns == ()
    page = artifacts.get_bytes(report.report.digest).decode()
    assert report.reason in page
    assert len(page) < 2000


def test_no_request_at_all_is_a_report_too(artifacts: Artifacts) -> None:
    live = judged_on(usual(50, 7), artifacts)
    report = check_drift(live, SPEC, [], artifacts=artifacts, now=NOW)
    assert (report.window_start, report.window_end) == (live.created_at, NOW)
    assert report.window_rows == 0


def test_failed_calls_are_no_reference(artifacts: Artifacts) -> None:
    failed = stored([outcome("where?", "shipping", error="timeout")], artifacts)
    with pytest.raises(DataError, match="release 3 has no held-out answer"):
        check_drift(release(failed), SPEC, traffic(moved(150)), artifacts=artifacts, now=NOW)


def test_an_unreadable_reference_is_named(artifacts: Artifacts) -> None:
    broken = artifacts.put_bytes(b'{"id": "1"}\n', "application/jsonl")
    with pytest.raises(ArtifactError, match="held-out answers of release 3"):
        check_drift(release(broken), SPEC, traffic(moved(150)), artifacts=artifacts, now=NOW)
