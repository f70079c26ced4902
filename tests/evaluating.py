"""A project with a spec and rows to ask, and models that answer them, for `retune evaluate` and `compare`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.cli import main
from retune.records import Artifact, Dataset, Split
from retune.settings import Settings
from retune.state import dataset_records, held_out
from retune.state.database import Database
from retune.text.conversations import Conversation, conversation, write_conversations

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SPEC = """\
version: 1
pipeline: tickets
data:
  sources: [rows.jsonl]
  columns: {prompt: text, completion: queue}
  system_prompt: Pick.
task: {labels: [billing, shipping]}
recipes: [{base_model: base}]
evaluation: {endpoint: vllm, latency: {requests: 10}}
deploy: {endpoint: vllm, alias: tickets}
"""


def right(prompt: str) -> str:
    """Return the queue of a question: it ends with a number, and odd ones are bills."""
    return "billing" if int(prompt.split()[-1]) % 2 else "shipping"


def answer(model: str, prompt: str) -> str:
    """Answer as a model: `good` is always right, `weak` but once in 40, `base` on even numbers only."""
    number = int(prompt.split()[-1])
    if model == "weak" and number % 40 == 0:
        return "billing"
    return "shipping" if model == "base" else right(prompt)


def rows_of(numbers: range, words: str = "Where is parcel") -> list[dict[str, str]]:
    """Return source rows, one a number."""
    return [{"text": f"{words} {number}", "queue": right(str(number))} for number in numbers]


def write_rows(path: Path, numbers: range) -> None:
    """Write a file of rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(numbers)))


def make_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with a spec and 60 rows to ask, and no state; it is the working directory then."""
    pipelines = folder / "include" / "pipelines"
    pipelines.mkdir(parents=True)
    (pipelines / "tickets.yaml").write_text(SPEC)
    write_rows(folder / "rows.jsonl", range(60))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RETUNE_PROJECT", str(folder))
    monkeypatch.setenv("RETUNE_HOME", str(folder / ".retune"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("RETUNE_URL_KEY", raising=False)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["retune", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def prepared(held: range) -> Dataset:
    """Register a dataset as the data stage does."""
    settings = Settings.load()
    db, artifacts = Database(settings.state_url), Artifacts(settings.artifacts_url)
    db.migrate()

    def side(numbers: range, words: str = "Where is parcel") -> tuple[Split, list[Conversation]]:
        rows = [conversation("Pick.", row["text"], row["queue"]) for row in rows_of(numbers, words)]
        stored = artifacts.put_bytes(write_conversations(rows), "application/jsonl")
        return Split(artifact=stored, rows=len(rows)), rows

    kept, examples = side(held)
    page = Artifact(digest="sha256:" + "4" * 64, uri="memory://page", size=1)
    dataset = Dataset(
        spec_digest="sha256:" + "0" * 64,
        pipeline="tickets",
        digest="sha256:" + "d" * 64,
        train=side(range(20), "Refund the broken lamp of order number")[0],
        validation=side(range(2000, 2020))[0],
        held_out=kept,
        labels=("billing", "shipping"),
        sources={},
        rows_read=100,
        dropped={},
        validation_page=page,
    )
    with db.write() as tx:
        dataset_records.add(tx, dataset, NOW)
        held_out.register(tx, "tickets", {row.fingerprint: b"" for row in examples}, NOW)
    return dataset
