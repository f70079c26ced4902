"""What Vertex AI finds in the data of a tuning job: examples, tokens, statistics, or a line that is wrong.

The shapes: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/, pages
`gemini-supervised-tuning-prepare`, `gemini-preference-tuning-prepare` and `open-model-tuning`. The words of
a refused line are published nowhere; that rows are named is seen in
https://github.com/GoogleCloudPlatform/generative-ai/issues/254.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_BYTES_PER_TOKEN = 4
_MOST_BUCKETS = 5
_SAMPLES, _SAMPLE_LENGTH = 3, 400
MOST_VALIDATION = 5_000


@dataclass
class Found:
    """What a file holds.

    Attributes:
        error: Why it cannot be used, in a sentence; empty where it can.
        inputs: Tokens of each example that are given to the model; about four bytes are one.
        outputs: Tokens of each example that it is to answer.
        messages: Messages of each example.
        samples: The first contents, cut, as the statistics show them.
    """

    error: str = ""
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(self.inputs)

    @property
    def tokens(self) -> int:
        """Tokens of all examples."""
        return sum(self.inputs) + sum(self.outputs)


class _Bad(Exception):
    """A line that cannot be used."""


def examine(data: bytes, kind: str, is_open: bool) -> Found:
    """Look through a file.

    Args:
        data: JSONL.
        kind: The field of the job's spec: `supervisedTuningSpec` or `preferenceOptimizationSpec`.
        is_open: Whether the model is an open one, which takes more shapes.
    """
    found = Found()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = _object(line)
            turns, answers = _turns(row, kind, is_open)
            found.inputs.append(_tokens([row.get("systemInstruction") or {}, *turns]))
            found.outputs.append(_tokens(answers))
        except _Bad as bad:
            return Found(error=f"Row: {number}. {bad}")
        except (TypeError, AttributeError, KeyError):
            return Found(error=f"Row: {number}. The line does not have the shape of an example.")
        found.messages.append(len(turns) + len(answers))
        if len(found.samples) < 2 * _SAMPLES:
            found.samples += [_sample(turn) for turn in (*turns[-1:], *answers[:1])]
    return found if found.examples else Found(error="The dataset has no examples.")


def statistics_of(found: Found, kind: str, steps: int) -> dict[str, Any]:
    """Return a job's `tuningDataStats`."""
    shared = {
        "tuningDatasetExampleCount": str(found.examples),
        "totalBillableTokenCount": str(found.tokens),
        "tuningStepCount": str(steps),
    }
    spread = {
        "userInputTokenDistribution": _distribution(found.inputs),
        "userOutputTokenDistribution": _distribution(found.outputs),
    }
    if kind == "preferenceOptimizationSpec":
        # The same distribution is another message here, with text and number the other way round.
        for one in spread.values():
            one["sum"] = int(one["sum"])
            one["buckets"] = [{**bucket, "count": str(bucket["count"])} for bucket in one["buckets"]]
        return {"preferenceOptimizationDataStats": {**shared, **spread}}
    spread["userMessagePerExampleDistribution"] = _distribution(found.messages)
    return {"supervisedTuningDataStats": {**shared, **spread, "userDatasetExamples": found.samples}}


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise _Bad("The line is not a valid JSON object.")
    return row


def _turns(row: dict[str, Any], kind: str, is_open: bool) -> tuple[list[Any], list[Any]]:
    """Return what is given to the model, and what it is to answer, as contents."""
    if kind == "preferenceOptimizationSpec":
        completions = row.get("completions")
        if not isinstance(completions, list) or len(completions) != 2:
            raise _Bad("Field 'completions' must hold exactly two completions.")
        if sorted(one.get("score") for one in completions) != [0, 1]:
            raise _Bad("The scores of the completions must be 1 and 0.")
        answers = [one.get("completion") for one in completions]
        contents = _contents(row)
        if contents[-1].get("role", "user") != "user":
            raise _Bad("The last content must have the role 'user'.")
        return contents, answers
    if is_open and "messages" in row:
        turns = [_as_content(message) for message in row["messages"]]
    elif is_open and "prompt" in row and "completion" in row:
        turns = [_as_content({"role": "user", "content": row["prompt"]})]
        turns.append(_as_content({"role": "assistant", "content": row["completion"]}))
    else:
        turns = _contents(row)
    if not turns or turns[-1].get("role") not in ("model", "assistant"):
        raise _Bad("The last content must have the role 'model'.")
    return turns[:-1], turns[-1:]


def _contents(row: dict[str, Any]) -> list[dict[str, Any]]:
    contents = row.get("contents")
    if not isinstance(contents, list) or not contents:
        raise _Bad("Missing required field 'contents'.")
    for number, content in enumerate(contents):
        if not isinstance(content, dict) or not content.get("parts"):
            raise _Bad(f"Missing required field 'contents[{number}].parts'.")
        role = content.get("role", "user")
        if role not in ("user", "model", "assistant", "function"):
            raise _Bad(f"Invalid role '{role}' in 'contents[{number}]': use 'user' or 'model'.")
    return contents


def _as_content(message: dict[str, Any]) -> dict[str, Any]:
    role = "model" if message.get("role") == "assistant" else message.get("role")
    return {"role": role, "parts": [{"text": str(message.get("content", ""))}]}


def _tokens(turns: Sequence[Any]) -> int:
    size = sum(len(json.dumps(part).encode()) for turn in turns for part in turn.get("parts", ()))
    return size // _BYTES_PER_TOKEN + 1


def _sample(turn: dict[str, Any]) -> dict[str, Any]:
    texts = [part["text"] for part in turn["parts"] if "text" in part]
    return {"role": turn.get("role", "user"), "parts": [{"text": "".join(texts)[:_SAMPLE_LENGTH]}]}


def _distribution(values: Sequence[int]) -> dict[str, Any]:
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    return {
        "sum": str(sum(ordered)),
        "min": low,
        "max": high,
        "mean": statistics.fmean(ordered),
        "median": statistics.median(ordered),
        "p5": ordered[math.floor(0.05 * (len(ordered) - 1))],
        "p95": ordered[math.ceil(0.95 * (len(ordered) - 1))],
        "buckets": list(_buckets(ordered)),
    }


def _buckets(ordered: Sequence[int]) -> Iterator[dict[str, Any]]:
    low, high = ordered[0], ordered[-1]
    width = (high - low) // _MOST_BUCKETS + 1
    for left in range(low, high + 1, width):
        count = sum(left <= value < left + width for value in ordered)
        if count:
            yield {"count": count, "left": left, "right": min(left + width - 1, high)}
