from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

from retune.settings import Settings
from retune.spec import load_spec
from retune.testing.tiny_base import pretraining_chats, training_side
from tests.unit.data.conftest import Project

ROOT = Path(__file__).resolve().parents[3]
SPEC = load_spec(ROOT / "include" / "pipelines" / "support-tickets.yaml")
SETTINGS = Settings.load({"project": str(ROOT)}.get)


def test_it_reads_what_the_first_dataset_trains_on_and_nothing_held_out(project: Project) -> None:
    for source in ("include/data/support_tickets.jsonl", SPEC.data.expectations):
        project.write(source, (ROOT / source).read_bytes())
    dataset = project.prepare(SPEC)
    read = training_side(SPEC, SETTINGS)
    assert read == project.read(dataset.train)
    kept_away = {row.prompt for side in (dataset.held_out, dataset.validation) for row in project.read(side)}
    epochs = list(islice(pretraining_chats(read, seed=7), 3 * len(read)))
    seen = {turn.content for chat in epochs for turn in chat}
    assert len(kept_away) > 300 and not kept_away & seen


def test_its_labels_are_random() -> None:
    rows = training_side(SPEC, SETTINGS)
    truth = {row.prompt: row.completion for row in rows}
    chats = list(islice(pretraining_chats(rows, seed=7), 8 * len(rows)))
    right = sum(truth[chat[-2].content] == chat[-1].content for chat in chats)
    assert abs(right / len(chats) - 1 / 8) < 0.02
    said = Counter(chat[-1].content for chat in chats)
    assert set(said) == set(SPEC.task.labels)
    assert max(said.values()) < 1.2 * min(said.values())
