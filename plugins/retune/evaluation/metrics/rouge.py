"""ROUGE-L."""

from __future__ import annotations

import re

from retune.evaluation.metrics.base import MeanMetric, Task, only_texts
from retune.records import Outcome

_WORD = re.compile(r"[a-z0-9]+")


class Rouge(MeanMetric):
    """Mean ROUGE-L F1: the longest run of words, gaps allowed, that answer and expected text share.

    The figure `rougeL` of Google's rouge-score 0.1.2 without its stemmer, whose words are runs of a to z
    and 0 to 9 in lower case; texts in other scripts have none. Source: Lin 2004, "ROUGE: A Package for
    Automatic Evaluation of Summaries".
    """

    name = "rouge"

    def unfit(self, task: Task) -> str:
        """Say that a label is no text."""
        return only_texts(task)

    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return an example's ROUGE-L; None where the expected text has no word, where Google's says 0."""
        from rapidfuzz.distance import LCSseq

        expected, answered = _words(outcome.expected), _words(outcome.answer)
        if not expected:
            return None
        shared = LCSseq.similarity(expected, answered)
        return 2 * shared / (len(expected) + len(answered))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
