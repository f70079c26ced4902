"""The sample project's documents say what belongs to which queue, and give no ticket away."""

from __future__ import annotations

import json
from pathlib import Path

from retune.evaluation.prompting.bm25 import words
from retune.evaluation.prompting.documents import read_documents
from retune.evaluation.prompting.retrieval import refuse_leaks
from retune.settings import EnvironmentFileSystems, Settings
from retune.spec import load_spec
from retune.text.conversations import conversation

ROOT = Path(__file__).resolve().parents[4]


def test_the_documents_name_every_queue_and_hold_no_ticket() -> None:
    settings = Settings.load({"project": str(ROOT)}.get)
    spec = load_spec(ROOT / "include" / "pipelines" / "support-tickets.yaml")
    documents = read_documents(spec.evaluation.rag.documents, settings, EnvironmentFileSystems())
    said = {word for document in documents for word in words(document.text)}
    assert set(spec.task.labels) <= said
    files = sorted((ROOT / "include" / "data").rglob("*.jsonl"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    tickets = [conversation("", json.loads(line)["text"] or "", "") for line in lines]
    assert len(tickets) > 1000
    refuse_leaks(documents, tickets)
