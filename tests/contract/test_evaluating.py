"""`retune evaluate` and `retune compare` ask a real HTTP server, without Airflow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retune.settings import Settings
from retune.state import held_out
from retune.state.database import Database
from retune.testing.vllm_stub import VllmStub
from tests.evaluating import answer, make_project, prepared, run, write_rows


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


@pytest.fixture
def server() -> Iterator[VllmStub]:
    with VllmStub(answer=answer) as stub:
        stub.adapters |= {"good": "", "weak": ""}
        yield stub


def evaluate(monkeypatch: pytest.MonkeyPatch, server: VllmStub, *words: str, model: str = "good") -> int:
    given = ("include/pipelines/tickets.yaml", "--model", model, "--url", server.url, "--out", "out")
    return run(monkeypatch, "evaluate", *given, *words)


def compare(monkeypatch: pytest.MonkeyPatch, server: VllmStub, *words: str) -> int:
    given = ("--spec", "include/pipelines/tickets.yaml", "--url", server.url, "--out", "out")
    return run(monkeypatch, "compare", *words, *given)


def written() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out/figures.json").read_text())
    return found


def asked(server: VllmStub) -> int:
    return sum(path == "/v1/chat/completions" for path, _ in server.calls)


def test_rows_of_a_file_are_asked_without_any_state(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(monkeypatch, server, "--rows", "rows.jsonl", model="base") == 0
    said = capfd.readouterr().out
    assert re.search(r"base: accuracy 0.500 \[0.3\d\d, 0.6\d\d\] on 60 examples, 0 calls failed.", said)
    assert "page: out/page.html" in said and "│ 0.500 [0.3" in said
    found = written()
    assert found["contenders"]["base"]["latency"]["n"] == 10
    assert (found["held_out_uses"], found["decision"], found["set"]["n"]) == (0, None, 60)
    page = Path("out/page.html").read_text()
    assert "base: accuracy 0.500" in page and "<script" not in page
    assert not (project / ".retune" / "state.db").exists(), "a state was made"
    assert not list((project / ".retune").glob("prepare-*")), "working files stayed"


def test_every_use_of_the_held_out_set_is_counted_and_said(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = prepared(range(60))
    assert evaluate(monkeypatch, server) == 0
    assert "1 run has used this held-out set" in capfd.readouterr().out
    assert evaluate(monkeypatch, server, "--set", "validation") == 0
    assert "used this held-out set" not in capfd.readouterr().out
    sides = written()["data"]
    assert (sides["validation"], sides["held_out"]) == (20, 60), "the page tells of the dataset as it is"
    assert compare(monkeypatch, server, "good", "base") == 0
    assert "2 runs have used this held-out set, this one counted" in capfd.readouterr().out
    assert written()["held_out_uses"] == 2 and written()["dataset_digest"] == dataset.digest
    # Rows of a file are a use where any was held out, and none where all are new.
    assert evaluate(monkeypatch, server, "--rows", "rows.jsonl") == 0
    assert "3 runs have used" in capfd.readouterr().out
    write_rows(project / "new.jsonl", range(5000, 5020))
    assert evaluate(monkeypatch, server, "--rows", "new.jsonl") == 0
    assert "used this held-out set" not in capfd.readouterr().out
    with Database(Settings.load().state_url).read() as tx:
        assert held_out.uses(tx, "tickets", dataset.held_out.artifact.digest) == 3


def test_two_models_are_compared_on_the_same_rows(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert compare(monkeypatch, server, "base", "good", "--rows", "rows.jsonl") == 0
    said = capfd.readouterr().out
    assert "good is better, at 95%. base against good: -50.0 points of accuracy" in said
    assert "0 won and 30 lost" in said
    (gain,) = written()["differences"]
    assert (gain["name"], gain["value"], gain["confidence"]) == ("good", -0.5, 0.975)
    assert asked(server) == 120


def test_a_comparison_stops_as_soon_as_it_is_settled(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_rows(project / "many.jsonl", range(400))
    assert compare(monkeypatch, server, "good", "base", "--rows", "many.jsonl", "--stop-early") == 0
    said = capfd.readouterr().out
    assert "good is better, at 95%." in said
    assert asked(server) == 100 and "After 1 look 700 of 800 calls were saved." in said


def test_what_is_never_settled_asks_all_once(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_rows(project / "many.jsonl", range(120))
    assert compare(monkeypatch, server, "good", "weak", "--rows", "many.jsonl", "--stop-early") == 0
    said = capfd.readouterr().out
    assert "Not settled at 95%." in said and "examples more would likely settle it" in said
    assert asked(server) == 240 and "After 3 looks 0 of 240 calls were saved." in said


def test_one_model_may_be_compared_with_itself_asked_otherwise(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    prepared(range(20))
    turns: list[int] = []
    server.on_body = lambda body: turns.append(len(body["messages"]))
    ways = ("--strategy", "plain", "--strategy", "few_shot")
    assert compare(monkeypatch, server, "base", "base", *ways) == 0
    assert set(turns) == {2, 18}, "8 examples before the question"
    assert set(written()["contenders"]) == {"base", "base (few_shot)"}
    assert compare(monkeypatch, server, "base", "base") == 1
    assert "would be compared with itself" in capfd.readouterr().err


def test_examples_need_a_prepared_dataset(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(monkeypatch, server, "--rows", "rows.jsonl", "--strategy", "few_shot") == 1
    assert "no dataset of tickets is prepared here" in capfd.readouterr().err
    assert evaluate(monkeypatch, server) == 1
    assert "name a file of rows with --rows" in capfd.readouterr().err
    assert asked(server) == 0


def test_a_run_that_was_cut_off_goes_on_only_where_that_is_said(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("good", "late", "--rows", "rows.jsonl")
    counts = []
    for resume, served in (
        ((), False),
        (("--resume",), True),
        (("--resume",), True),
        ((), False),
        ((), True),
    ):
        server.adapters |= {"late": ""}
        if not served:
            del server.adapters["late"]
        assert compare(monkeypatch, server, *words, *resume) == (0 if served else 1)
        counts.append(asked(server))
    # Cut off after the first model; gone on with; a run that ended leaves nothing; cut off; begun anew.
    assert counts == [60, 120, 240, 300, 420]
    assert not list((project / ".retune" / "answers").rglob("*.jsonl")), "users' texts stayed"


def test_the_key_goes_with_the_url_and_nowhere_else(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RETUNE_URL_KEY", "sk-secret-value")
    assert evaluate(monkeypatch, server, "--rows", "rows.jsonl") == 0
    other = ("--url", "http://other.example", "--rows", "rows.jsonl")
    assert compare(monkeypatch, server, "good", "base", *other) == 1
    said = capfd.readouterr()
    assert "a key would go to the wrong one too" in said.err
    files = [path.read_text() for path in Path("out").iterdir()]
    assert not [text for text in (said.out, said.err, *files) if "sk-secret-value" in text]


def test_broken_rows_are_named_with_their_line(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "rows.jsonl").open("a").write('{"text": "no queue"}\n')
    assert evaluate(monkeypatch, server, "--rows", "rows.jsonl") == 1
    assert "rows.jsonl:61: column 'queue' is missing" in capfd.readouterr().err


def test_personal_data_of_a_file_is_redacted_before_it_is_asked(
    project: Path, server: VllmStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []
    server.on_body = lambda body: prompts.append(body["messages"][-1]["content"])
    row = {"text": "I am ann@example.org: where is 7", "queue": "billing"}
    (project / "one.jsonl").write_text(json.dumps(row) + "\n")
    assert evaluate(monkeypatch, server, "--rows", "one.jsonl") == 0
    assert set(prompts) == {"I am <EMAIL_1>: where is 7"}
