"""Figures about a request's text. Plain Python: they work for any alphabet and for empty text.

Evidently's own word count knows a-z only, and its share of non-letters fails on empty text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?。！？]+(?=\s|$)|\n+")


def words(text: str) -> list[str]:
    """Return the text's words in lower case."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """The words of the reference, each with the number of distinct texts that hold it."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = set(texts)
        self._found_in = Counter(word for text in self._texts for word in set(words(text)))

    def unknown_percent(self, text: str) -> float:
        """Return the percentage of the text's words that no other text of the reference holds.

        "Other", so that a text of the reference is judged as a new one would be.
        """
        found = words(text)
        own = 1 if text in self._texts else 0
        unknown = sum(self._found_in[word] <= own for word in found)
        return 100 * unknown / len(found) if found else 0.0


def describe(texts: list[str], vocabulary: Vocabulary) -> dict[str, list[float]]:
    """Return each descriptor's values, in the order of the texts.

    No number of words beside the length: two columns that always move together would outvote
    what a text says by how long it is.
    """
    return {
        "prompt length": [float(len(text)) for text in texts],
        "sentences": [float(sum(bool(part.strip()) for part in _SENTENCE_END.split(text))) for text in texts],
        "non-letters (%)": [_non_letter_percent(text) for text in texts],
        "unknown words (%)": [vocabulary.unknown_percent(text) for text in texts],
    }


def _non_letter_percent(text: str) -> float:
    marks = sum(not (character.isalpha() or character.isspace()) for character in text)
    return 100 * marks / len(text) if text else 0.0
