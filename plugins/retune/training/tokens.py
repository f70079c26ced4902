"""The rows as the model reads them: made by the tokenizer alone, checked, and kept in the job directory.

So bad rows are found before a GPU is taken, and a resumed training or another process reads the
tokens instead of making them again.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from retune.errors import BackendError, Problem
from retune.training import conversations
from retune.training.conversations import Row
from retune.training.job import JobFolder, TrainingJob

SIDES = ("train", "validation")
_NAMES = {"train": "training", "validation": "validation"}
_BATCH = 512
_SHOWN = 20


@dataclass(frozen=True)
class TokenRows:
    """Token ids of many rows, one after the other.

    Attributes:
        ids: int32, all rows' tokens.
        learned: bool, the tokens that the loss counts.
        starts: int64, where each row begins, and where the last one ends.
    """

    ids: Any
    learned: Any
    starts: Any

    @classmethod
    def make(cls, rows: Sequence[tuple[list[int], list[bool]]]) -> TokenRows:
        """Join rows, each given as its ids and which of them are learned."""
        import torch

        lengths = [0, *(len(ids) for ids, _ in rows)]
        return cls(
            torch.tensor([token for ids, _ in rows for token in ids], dtype=torch.int32),
            torch.tensor([mark for _, marks in rows for mark in marks], dtype=torch.bool),
            torch.tensor(lengths).cumsum(0),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [int(length) for length in self.starts.diff()]

    def row(self, number: int) -> tuple[Any, Any]:
        """Return a row's ids and which of them are learned."""
        part = slice(self.starts[number], self.starts[number + 1])
        return self.ids[part], self.learned[part]


def prepare(folder: JobFolder, job: TrainingJob, tokenizer: Any, max_length: int) -> dict[str, TokenRows]:
    """Return the rows of both sides as tokens; DPO's rows stand as chosen, rejected, chosen, ...

    They are made once and kept in the directory.

    Args:
        folder: The job's directory.
        job: Whose rows they are.
        tokenizer: The base model's.
        max_length: Tokens that a row may have.

    Raises:
        BackendError: Lists the rows that are too long or teach nothing.
    """
    template = training_template(tokenizer, job.base_model)
    inputs = _digest_of_inputs(job, tokenizer, template, max_length)
    found = {side: _read(folder.tokens / f"{side}.safetensors", inputs) for side in SIDES}
    made = {side: rows for side, rows in found.items() if rows is not None}
    if len(made) == len(SIDES):
        return made
    problems = [] if _teaches_the_end(tokenizer, template) else [_END]
    for side in SIDES:
        rows = conversations.read(Path(getattr(job, side)), job.method)
        made[side] = tokenize(rows, tokenizer, template)
        problems += _flaws(made[side], _NAMES[side], max_length, 2 if job.method == "dpo" else 1)
    if problems:
        raise BackendError(problems)
    for side in SIDES:
        _write(folder.tokens / f"{side}.safetensors", made[side], inputs)
    return made


def training_template(tokenizer: Any, base_model: str) -> str:
    """Return the chat template to train with: the model's own, or TRL's version that marks the answers.

    Source: https://huggingface.co/docs/trl/chat_templates (training templates).

    Raises:
        BackendError: Nobody knows which tokens of this template are the assistant's.
    """
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    own = tokenizer.chat_template
    own = own["default"] if isinstance(own, dict) else own
    if has_generation_markers(own):
        return str(own)
    try:
        return str(get_training_chat_template(tokenizer))
    except ValueError as error:
        raise BackendError(
            f"the chat template of {base_model} does not say which tokens are the assistant's",
            "put the assistant's turns and their end token between {% generation %} and {% endgeneration %}",
        ) from error


def tokenize(rows: Sequence[Row], tokenizer: Any, template: str) -> TokenRows:
    """Return the rows as tokens, of which the assistant's are learned (of a preference, the answers')."""
    made: list[tuple[list[int], list[bool]]] = []
    for first in range(0, len(rows), _BATCH):
        part = rows[first : first + _BATCH]
        if "rejected" in part[0]:
            made += _pairs(part, tokenizer, template)
        else:
            made += _marked([row["messages"] for row in part], tokenizer, template)
    return TokenRows.make(made)


def _marked(
    turns: list[list[dict[str, str]]], tokenizer: Any, template: str
) -> Iterator[tuple[list[int], list[bool]]]:
    encoded = tokenizer.apply_chat_template(
        turns, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    for ids, marks in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
        yield ids, [bool(mark) for mark in marks]


def _pairs(rows: Sequence[Row], tokenizer: Any, template: str) -> Iterator[tuple[list[int], list[bool]]]:
    asked = [row["messages"][:-1] for row in rows]
    prompts = tokenizer.apply_chat_template(
        asked, chat_template=template, tokenize=True, return_dict=True, add_generation_prompt=True
    )["input_ids"]
    chosen = _marked([row["messages"] for row in rows], tokenizer, template)
    rejected = _marked(
        [turns + row["rejected"] for turns, row in zip(asked, rows, strict=True)], tokenizer, template
    )
    for prompt, *pair in zip(prompts, chosen, rejected, strict=True):
        for ids, marks in pair:
            # Answers of earlier turns are part of the question.
            begin = len(os.path.commonprefix([prompt, ids]))
            yield ids, [mark and place >= begin for place, mark in enumerate(marks)]


_END = Problem(
    "the chat template leaves the end of the assistant's turn out of {% generation %},"
    " so the model would never learn to stop",
    "move the end token in front of {% endgeneration %}",
)


def _teaches_the_end(tokenizer: Any, template: str) -> bool:
    from trl.chat_template_utils import is_chat_template_stop_token_trained

    return bool(is_chat_template_stop_token_trained(tokenizer, chat_template=template))


def _flaws(rows: TokenRows, name: str, max_length: int, rows_a_line: int) -> list[Problem]:
    """List what is wrong with a side; a line of it made that many rows."""
    problems, lengths, lines = [], rows.lengths, len(rows) // rows_a_line
    if longer := {
        row // rows_a_line + 1: length for row, length in enumerate(lengths) if length > max_length
    }:
        longest, line = max((length, row // rows_a_line + 1) for row, length in enumerate(lengths))
        problems.append(
            Problem(
                f"{len(longer)} of {lines} {name} conversations are longer than max_length ({max_length}"
                f" tokens); the longest has {longest} (row {line}); {_listed(longer)}",
                f"raise max_length to {longest}, or shorten the rows",
            )
        )
    silent = {row // rows_a_line + 1: 0 for row in range(len(rows)) if not rows.row(row)[1].any()}
    if silent:
        problems.append(
            Problem(
                f"{len(silent)} of {lines} {name} conversations have no assistant token; {_listed(silent)}",
                "remove the empty completions",
            )
        )
    return problems


def _listed(rows: dict[int, int]) -> str:
    numbers = sorted(rows)
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"rows {', '.join(map(str, numbers[:_SHOWN]))}{more}"


def _digest_of_inputs(job: TrainingJob, tokenizer: Any, template: str, max_length: int) -> str:
    files = [hashlib.sha256(Path(getattr(job, side)).read_bytes()).hexdigest() for side in SIDES]
    vocabulary = hashlib.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()
    parts = [files, vocabulary, template, job.method, max_length]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write(path: Path, rows: TokenRows, inputs: str) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    tensors = {"ids": rows.ids, "learned": rows.learned, "starts": rows.starts}
    save_file(tensors, partial, metadata={"inputs": inputs})
    partial.replace(path)


def _read(path: Path, inputs: str) -> TokenRows | None:
    """Return kept rows, or None where there are none of these inputs that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("inputs") != inputs:
                return None
            return TokenRows(*(file.get_tensor(name) for name in ("ids", "learned", "starts")))
    except (FileNotFoundError, SafetensorError):
        return None
