"""Two answers to one question, and which of them people found better."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from retune.errors import DataError
from retune.evaluation.respondents import readable
from retune.records import Outcome
from retune.text.lines import read_lines

Better = Literal["first", "second", "tie"]
BETTER: tuple[Better, ...] = ("first", "second", "tie")
_OTHER: dict[Better, Better] = {"first": "second", "second": "first", "tie": "tie"}
_SCORES: dict[Better, float] = {"first": 1.0, "second": 0.0, "tie": 0.5}
_RIVALS = ("champion", "base")
_FORM = "a line is an object with `prompt`, `first`, `second`, and `better`: first, second or tie"


@dataclass(frozen=True)
class Pair:
    """Two answers to one question.

    Attributes:
        question: The last user message.
        first: The one answer.
        second: The other one.
    """

    question: str
    first: str
    second: str

    @property
    def swapped(self) -> Pair:
        """The same with the answers in the other order."""
        return Pair(self.question, self.second, self.first)


@dataclass(frozen=True)
class Labelled:
    """A pair that people judged.

    Attributes:
        pair: The question with both answers.
        better: What people said.
    """

    pair: Pair
    better: Better


class _Row(msgspec.Struct):
    prompt: str
    first: str
    second: str
    better: Better


_decoder = msgspec.json.Decoder(_Row)


def read_labelled(path: Path) -> list[Labelled]:
    """Read `evaluation.judge.labelled`: pairs that people judged.

    Args:
        path: JSONL of `prompt`, `first`, `second` and `better`.

    Raises:
        DataError: Names every line that is none, or says that the file is missing, empty, or has no
            pair of which one answer is better: a judge could not be probed with it.
    """
    rows = read_lines(path, _labelled, form=_FORM, instead="take evaluation.judge out")
    if all(row.better == "tie" for row in rows):
        raise DataError(f"{path} has no pair of which one answer is better", "add pairs that people judged")
    return rows


def _labelled(line: bytes) -> Labelled:
    try:
        row = _decoder.decode(line)
        if not row.prompt.strip():
            raise ValueError("prompt is empty")
    except ValueError as error:
        raise ValueError(f"no judged pair: {error}") from None
    texts = (readable(text) for text in (row.prompt, row.first, row.second))
    return Labelled(Pair(*texts), row.better)


def rival_of(names: Collection[str]) -> str:
    """Return whom the candidate is held against: the champion, else base; empty where neither is there.

    Args:
        names: Who met the held-out set.
    """
    return next((name for name in _RIVALS if name in names), "")


def alike(mine: Outcome, theirs: Outcome) -> bool:
    """Say whether two answers to an example are the same: its label, or the text without outer space."""
    if mine.predicted or theirs.predicted:
        return mine.predicted == theirs.predicted
    return mine.answer.strip() == theirs.answer.strip()


def other(better: Better) -> Better:
    """Return a verdict on a pair as one on the pair in the other order."""
    return _OTHER[better]


def score_of(better: Better) -> float:
    """Return what a verdict is worth for the first: 1, 0, or 0.5 where neither is better."""
    return _SCORES[better]
