from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retune.errors import BackendError
from retune.training.conversations import read

QUESTION = {"role": "user", "content": "Where is it?"}
ANSWER = {"role": "assistant", "content": "In Berlin."}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_better_answer_is_learnt(tmp_path: Path) -> None:
    worse = {"content": "So what?", "role": "assistant"}
    path = written(tmp_path, {"messages": [QUESTION, ANSWER], "rejected": [worse]})
    assert read(path, "sft") == [{"messages": [QUESTION, ANSWER]}]


def test_what_the_trainer_cannot_heed_is_refused_with_its_line(tmp_path: Path) -> None:
    calls = [{"function": {"arguments": "{}", "name": "track"}, "id": "c"}]
    path = written(
        tmp_path,
        {"messages": [QUESTION, ANSWER]},
        {"messages": [QUESTION, {**ANSWER, "weight": 0}, QUESTION, ANSWER]},
        {"messages": [QUESTION, {**ANSWER, "tool_calls": calls}]},
        {"messages": [QUESTION, ANSWER], "tools": "[]"},
    )
    with pytest.raises(BackendError) as caught:
        read(path, "sft")
    assert [(problem.line, problem.what.split()[1].rstrip(",")) for problem in caught.value.problems] == [
        (2, "weight"),
        (3, "tool_calls"),
        (4, "tools"),
    ]


def test_a_preference_has_both_answers(tmp_path: Path) -> None:
    worse = {"content": "So what?", "role": "assistant"}
    path = written(tmp_path, {"messages": [QUESTION, ANSWER], "rejected": [worse]})
    assert read(path, "dpo") == [{"messages": [QUESTION, ANSWER], "rejected": [worse]}]


def test_a_preference_without_a_worse_answer_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"messages": [QUESTION, ANSWER]},
        {"messages": [QUESTION, ANSWER], "rejected": [QUESTION]},
        {"messages": [QUESTION, ANSWER], "rejected": [ANSWER]},
    )
    with pytest.raises(BackendError) as caught:
        read(path, "dpo")
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3]
    assert "no rejected answer" in caught.value.problems[0].what
    assert "the very answer" in caught.value.problems[2].what
