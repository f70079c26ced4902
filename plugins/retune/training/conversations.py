"""The rows: read from canonical JSONL, and refused where nothing good can be learned from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retune.errors import BackendError, Problem

Rows = list[dict[str, Any]]
_LEARNED = {"role", "content", "name"}


def read(path: Path) -> Rows:
    """Read a canonical JSONL file: one object with `messages` a line.

    Raises:
        BackendError: Lists every line that is no conversation.
    """
    rows, problems = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append({"messages": [{"role": m["role"], "content": m["content"]} for m in row["messages"]]})
            # A weight stands there only where it is 0.
            beyond = {key for m in row["messages"] for key in m if key not in _LEARNED}
            beyond |= {"tools"} & row.keys()
            if beyond:
                what = f"has {', '.join(sorted(beyond))}, of which the local trainer would learn nothing"
                problems.append(Problem(what, "take these rows out with data.where", str(path), number))
        except (ValueError, KeyError, TypeError) as error:
            what = f"not a conversation: {type(error).__name__}: {error}"
            problems.append(Problem(what, "prepare the data again", str(path), number))
    if not rows and not problems:
        problems.append(Problem("no conversation in it", "prepare the data again", str(path)))
    if problems:
        raise BackendError(problems)
    return rows


def check(trainer: Any, rows: dict[str, Rows], max_length: int) -> None:
    """Refuse conversations that are too long, or on which nothing would be learned.

    Args:
        trainer: TRL's trainer with the tokenized rows.
        rows: The rows as read, by side.
        max_length: Tokens.

    Raises:
        BackendError: Lists all that is wrong.
    """
    from trl.chat_template_utils import is_chat_template_stop_token_trained

    problems = []
    for side, data in (("train", trainer.train_dataset), ("eval", trainer.eval_dataset)):
        name = "training" if side == "train" else "validation"
        lengths = [len(ids) for ids in data["input_ids"]]
        problems += _too_long(name, lengths, max_length)
        unsupervised = sum(all(label == -100 for label in labels) for labels in data["labels"])
        if unsupervised or len(lengths) != len(rows[side]):
            problems.append(
                Problem(
                    f"{unsupervised} of {len(rows[side])} {name} conversations have no assistant token",
                    "remove the empty completions",
                )
            )
    if not is_chat_template_stop_token_trained(trainer.processing_class, chat_template=trainer.chat_template):
        problems.append(
            Problem(
                "the chat template leaves the end of the assistant's turn out of {% generation %},"
                " so the model would never learn to stop",
                "move the end token in front of {% endgeneration %}",
            )
        )
    if problems:
        raise BackendError(problems)


def _too_long(name: str, lengths: Sequence[int], max_length: int) -> list[Problem]:
    longer = [(length, row) for row, length in enumerate(lengths, start=1) if length > max_length]
    if not longer:
        return []
    longest, row = max(longer)
    return [
        Problem(
            f"{len(longer)} of {len(lengths)} {name} conversations are longer than max_length"
            f" ({max_length} tokens); the longest has {longest} (row {row})",
            f"raise max_length to {longest}, or shorten the rows",
        )
    ]
