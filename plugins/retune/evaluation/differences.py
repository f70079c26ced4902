"""Examples won and lost: which labels they went between, and which words differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from retune.evaluation.comparison import Pair
from retune.records import Outcome

MOST_CHARACTERS = 600
"""Of a text that a page shows; also bounds what is compared, which grows with the square of it."""
NO_LABEL = "(no label)"
FAILED = "(no answer)"
_LEAST_ALIKE = 0.4
"""Share of equal words and marks from which the difference of two texts can be read."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Span:
    """A piece of a text that was compared with another.

    Attributes:
        kind: `same` in both, `added` to the other, or `missing` from this one.
        text: The piece.
    """

    kind: Literal["same", "added", "missing"]
    text: str


@dataclass(frozen=True)
class LabelPair:
    """What two contenders answered where one label was expected, and how often."""

    expected: str
    mine: str
    theirs: str
    count: int


def won(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the examples with a higher score than the rival's, the largest gain first."""
    return sorted((pair for pair in pairs if pair.gain > 0), key=lambda pair: -pair.gain)


def lost(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the examples with a lower score than the rival's, the largest loss first."""
    return sorted((pair for pair in pairs if pair.gain < 0), key=lambda pair: pair.gain)


def label_pairs(pairs: Sequence[Pair]) -> list[LabelPair]:
    """Count what was answered in place of which label, the most frequent first."""
    counts = Counter((pair.mine.expected, said(pair.mine), said(pair.theirs)) for pair in pairs)
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [LabelPair(*names, count) for names, count in ordered]


def confusions(outcomes: Sequence[Outcome]) -> list[tuple[str, str, int]]:
    """Return (expected label, what was answered, how often) of every wrong answer, most frequent first."""
    counts = Counter((one.expected, said(one)) for one in outcomes if said(one) != one.expected)
    return [(*names, count) for names, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


def said(outcome: Outcome) -> str:
    """Return the label that an answer names, or that there was none."""
    return FAILED if outcome.error else outcome.predicted or NO_LABEL


def word_diff(expected: str, answer: str) -> list[Span]:
    """Return an answer as pieces, held against the text that was expected.

    Both are cut first, so that an answer of any length takes no time. One that is quite another text
    is one piece: a few shared commas would only scatter it.

    Args:
        expected: The text that was wanted.
        answer: The text that came.
    """
    wanted, came = _WORD.findall(cut(expected)), _WORD.findall(cut(answer))
    matcher = SequenceMatcher(None, wanted, came, autojunk=False)
    if matcher.ratio() < _LEAST_ALIKE:
        return [Span("added", "".join(came))]
    spans = []
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            spans.append(Span("same", "".join(wanted[start:end])))
            continue
        if end > start:
            spans.append(Span("missing", "".join(wanted[start:end])))
        if other_end > other_start:
            spans.append(Span("added", "".join(came[other_start:other_end])))
    return spans


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text no longer than a page shows, and say how much of it is left out."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} characters more)"
