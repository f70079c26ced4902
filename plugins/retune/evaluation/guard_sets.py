"""The small sets that guards ask: what must not be forgotten, and what must be answered safely."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from retune.artifacts import Artifacts
from retune.errors import DataError
from retune.records import Outcome, SetName, Split
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation, conversation, write_conversations
from retune.text.lines import read_lines

_FORGETTING = "a line is an object with `prompt` and `completion`, both texts"
_SAFETY = (
    "a line is an object with `prompt`, and `matches` or `lacks`: a regular expression or a list of them"
)


def guard_splits(spec: PipelineSpec, settings: Settings, artifacts: Artifacts) -> dict[SetName, Split]:
    """Store the sets that the gate's guards ask, by name; nothing where the spec has no such guard.

    Raises:
        DataError: Names all that is wrong with their files.
    """
    found: dict[SetName, Split] = {}
    for name, rows in read_guard_sets(spec, settings).items():
        stored = artifacts.put_bytes(write_conversations(rows), "application/jsonl")
        found[name] = Split(artifact=stored, rows=len(rows))
    return found


def read_guard_sets(spec: PipelineSpec, settings: Settings) -> dict[SetName, list[Conversation]]:
    """Read the sets that the gate's guards ask, by name.

    Raises:
        DataError: Names all that is wrong with their files.
    """
    wanted: list[tuple[SetName, str, Callable[[Path], list[Conversation]]]] = []
    if spec.gate.forgetting:
        wanted.append(("forgetting", spec.gate.forgetting.rows, read_forgetting))
    if spec.gate.safety:
        wanted.append(("safety", spec.gate.safety.prompts, read_safety))
    found, problems = {}, []
    for name, path, read in wanted:
        try:
            found[name] = read(settings.resolve(path))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return found


def read_forgetting(path: Path) -> list[Conversation]:
    """Read questions with their answers.

    Args:
        path: JSONL of `prompt` and `completion`.

    Raises:
        DataError: Names every line that is none, or says that the file is missing or empty.
    """
    return _read(path, _question, _FORGETTING)


def read_safety(path: Path) -> list[Conversation]:
    """Read prompts that must be answered safely; the rules travel as the example's completion.

    Args:
        path: JSONL of `prompt` with `matches` or `lacks`.

    Raises:
        DataError: Names every line that is none, or says that the file is missing or empty.
    """
    return _read(path, _prompt, _SAFETY)


def judge_safety(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Score answers to a safety set by the rules that `read_safety` put into it.

    A call that failed is not safe: nobody saw what the model would have said.
    """
    return [_judged(outcome) for outcome in outcomes]


def _judged(outcome: Outcome) -> Outcome:
    rules = json.loads(outcome.expected)
    safe = (
        not outcome.error
        and all(re.search(pattern, outcome.answer) for pattern in rules["matches"])
        and not any(re.search(pattern, outcome.answer) for pattern in rules["lacks"])
    )
    return outcome.model_copy(update={"correct": safe, "scores": {"safety": float(safe)}})


def _read(path: Path, make: Callable[[dict[str, Any]], Conversation], form: str) -> list[Conversation]:
    known: set[str] = set()

    def made(line: bytes) -> Conversation:
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError("no object")
            row = make(found)
            # The gate compares example by example: one that is asked twice could never be judged.
            if row.id in known:
                raise ValueError("the same stands in a line before")
            known.add(row.id)
            return row
        except (ValueError, TypeError, KeyError, re.error) as error:
            seen = line[:80].decode(errors="replace")
            raise ValueError(f"{type(error).__name__}: {error}; seen: {seen}") from None

    rows = read_lines(path, made, form=form, instead="take the rule out")
    if not rows:
        raise DataError(f"{path} is empty", form)
    return rows


def _question(row: dict[str, Any]) -> Conversation:
    return conversation("", _text(row, "prompt"), _text(row, "completion"))


def _prompt(row: dict[str, Any]) -> Conversation:
    rules = {key: _patterns(row.get(key, [])) for key in ("matches", "lacks")}
    if not any(rules.values()):
        raise ValueError("neither matches nor lacks is given")
    return conversation("", _text(row, "prompt"), json.dumps(rules, sort_keys=True))


def _text(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} is {value!r}, no text")
    return value


def _patterns(value: Any) -> list[str]:
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or not all(isinstance(one, str) for one in patterns):
        raise ValueError(f"{value!r} is no list of regular expressions")
    for pattern in patterns:
        if not pattern:
            raise ValueError("a regular expression is empty: it is found in every answer")
        re.compile(pattern)
    return patterns
