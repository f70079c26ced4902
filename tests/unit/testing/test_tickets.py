from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from retune.settings import Settings
from retune.spec import load_spec
from retune.testing import ticket_phrases, tickets
from retune.testing.first_dataset import FirstDataset, first_dataset
from retune.text.conversations import Conversation

ROOT = Path(__file__).resolve().parents[3]
SPEC = load_spec(ROOT / "include" / "pipelines" / "support-tickets.yaml")


def dataset(source: str) -> FirstDataset:
    settings = Settings.load({"project": str(ROOT)}.get)
    data = SPEC.data.model_copy(update={"sources": (source,)})
    return first_dataset(SPEC.model_copy(update={"data": data}), settings)


def all_of(found: FirstDataset) -> list[Conversation]:
    return [row for side in found.sides.values() for row in side]


@pytest.fixture(scope="module")
def usual() -> FirstDataset:
    return dataset(f"include/data/{tickets.USUAL_FILE}")


@pytest.fixture(scope="module")
def moved() -> list[Conversation]:
    return all_of(dataset(f"include/data/{tickets.MOVED_FILE}"))


def test_the_committed_files_are_the_generators() -> None:
    folder = ROOT / "include" / "data"
    assert (folder / tickets.USUAL_FILE).read_bytes() == tickets.usual_file()
    assert (folder / tickets.MOVED_FILE).read_bytes() == tickets.moved_file()


def test_every_queue_and_phrase_can_be_written() -> None:
    assert set(ticket_phrases.USUAL) == set(ticket_phrases.MOVED) == set(SPEC.task.labels)
    for moved in (False, True):
        for ticket in tickets.tickets(2000, seed=1, moved=moved):
            assert not re.search(r"[\[\]{}|]", ticket["text"]), ticket["text"]


def test_there_are_many_different_rows_and_every_kind_of_dirt(usual: FirstDataset) -> None:
    rows = all_of(usual)
    assert len(rows) >= 1200
    counts = Counter(row.completion for row in rows)
    assert len(counts) == 8 and min(counts.values()) > 100
    dirt = ("empty", "unlisted_label", "duplicate", "conflict", "near_duplicate")
    assert all(usual.dropped[kind] for kind in dirt), usual.dropped
    assert sum("<EMAIL_1>" in row.prompt for row in rows) > 20


def test_the_task_is_neither_trivial_nor_hopeless_and_the_batch_has_moved(
    usual: FirstDataset, moved: list[Conversation]
) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, held_out = usual.sides["train"], usual.sides["held_out"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([row.prompt for row in train], [row.completion for row in train])

    def accuracy(rows: list[Conversation]) -> float:
        return float(model.score([row.prompt for row in rows], [row.completion for row in rows]))

    assert 0.75 <= accuracy(held_out) <= 0.95
    assert accuracy(moved) <= accuracy(held_out) - 0.10
