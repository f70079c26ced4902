"""Examples, rooms and datasets for tests of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retune.artifacts import Artifacts
from retune.evaluation.prompting.room import Room
from retune.records import Dataset, Split
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation, Message, conversation, write_conversations
from retune.text.tokens import counter_for
from tests.unit.evaluation.builders import SPEC, dataset

SYSTEM = "Answer with the queue."


def row(prompt: str, label: str = "billing", system: str = SYSTEM) -> Conversation:
    """An example of one question."""
    return conversation(system, prompt, label)


def room(window: int = 100_000, answer: int = 16) -> Room:
    """Room that reckons four bytes a token."""
    return Room(counter_for("no-such-model", Path("/nowhere")), window, answer)


def contents(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Roles and texts."""
    return [(turn.role, turn.content) for turn in messages]


def spec_with(**evaluation: object) -> PipelineSpec:
    """The usual spec with another evaluation."""
    found = SPEC.to_json()
    found["evaluation"] |= evaluation
    return PipelineSpec.from_json(found)


def stored(
    artifacts: Artifacts,
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    held_out: Sequence[Conversation],
) -> Dataset:
    """A dataset whose sides are stored."""
    sides = {"train": train, "validation": validation, "held_out": held_out}
    splits = {
        side: Split(
            artifact=artifacts.put_bytes(write_conversations(rows), "application/jsonl"), rows=len(rows)
        )
        for side, rows in sides.items()
    }
    return dataset(len(held_out)).model_copy(update=splits)
