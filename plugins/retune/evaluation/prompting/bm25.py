"""Texts ranked by the words that they share with a question."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# In scripts without spaces, such as Chinese, each character is a word.
_WORD = re.compile(r"(?=\w)[\u2e80-\U0003ffff]|[^\W\u2e80-\U0003ffff]+")


class Ranking(Protocol):
    """Orders texts by how well they fit a question."""

    def best(self, question: str, count: int) -> list[int]:
        """Return the places of the texts that fit best, best first; of equals, the one that comes first."""
        ...


def words(text: str) -> list[str]:
    """Return a text's words, folded, so that case, punctuation and white space do not matter."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class Bm25:
    """Ranks by BM25 as Lucene has it (k1 1.5, b 0.75; bm25s: Lù 2024, arXiv 2407.03618).

    No stop words and no stemming: both belong to one language.

    Args:
        texts: What is ranked.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s  # type: ignore[import-untyped]

        corpus = [words(text) for text in texts]
        self._count = len(texts)
        self._index: Any = None
        if any(corpus):
            self._index = bm25s.BM25()
            self._index.index(corpus, show_progress=False)

    def best(self, question: str, count: int) -> list[int]:
        """Return the places of the texts that fit best, best first; of equals, the one that comes first."""
        asked = words(question)
        if self._index is None or not asked:
            return list(range(min(count, self._count)))
        return highest(self._index.get_scores(asked), count)


def highest(scores: NDArray[Any], count: int) -> list[int]:
    """Return the places of the highest scores, highest first; of equals, the one that comes first."""
    places = np.arange(len(scores))
    if count < len(scores):
        least = scores.min()
        # Most texts share no word with a question, and partition is slow where many are equal.
        above = scores[scores > least]
        floor = np.partition(above, -count)[-count] if len(above) >= count else least
        places = np.flatnonzero(scores >= floor)
    found: list[int] = places[np.argsort(-scores[places], kind="stable")][:count].tolist()
    return found
