"""Which label an answer names, and the one form in which texts are compared."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

from retune.errors import Problem, SpecError
from retune.spec.data import Normalise

_AS_IS = Normalise()
# Quotes to those who write Markdown, though no punctuation to Unicode.
_ALSO_PUNCTUATION = "`´"


def normalised(text: str, normalise: Normalise) -> str:
    """Return a text in the form in which it is compared; outer white space never counts.

    A text of nothing but punctuation keeps it, or `?` and `!` would be one answer.

    Args:
        text: A label or an answer.
        normalise: What the spec declares.
    """
    found = text.strip()
    if normalise.punctuation == "strip":
        found = _without_marks(found) or found
    return found.casefold() if normalise.case == "fold" else found


class Labels:
    """The classes of a task, and how an answer is read as one of them.

    Args:
        names: The classes as the spec, or the data, writes them.
        normalise: How labels and answers are brought to one form before they are compared.

    Raises:
        SpecError: Two labels become one; names all such pairs.
    """

    def __init__(self, names: Collection[str], normalise: Normalise = _AS_IS) -> None:
        self._normalise = normalise
        self._by_form: dict[str, str] = {}
        problems = []
        for name in names:
            other = self._by_form.setdefault(normalised(name, normalise), name)
            if other != name:
                problems.append(
                    Problem(
                        f"labels {other!r} and {name!r} are one under task.normalise",
                        "rename one of them, or let task.normalise keep what tells them apart",
                    )
                )
        if problems:
            raise SpecError(problems)

    def match(self, answer: str) -> str:
        """Return the label that the answer is, as the spec writes it, or an empty string."""
        return self._by_form.get(normalised(answer, self._normalise), "")


def match_label(answer: str, labels: Collection[str], normalise: Normalise = _AS_IS) -> str:
    """Return the label that the answer is, or an empty string.

    Only outer white space is forgiven, and what the spec declares: case, punctuation and words around
    a label are errors, since a caller that routes on the answer could not use them either.

    Args:
        answer: The model's answer as it came.
        labels: The classes.
        normalise: What the spec declares.

    Raises:
        SpecError: Two labels become one.
    """
    return Labels(labels, normalise).match(answer)


def _without_marks(text: str) -> str:
    start, end = 0, len(text)
    while start < end and _outer(text[start]):
        start += 1
    while end > start and _outer(text[end - 1]):
        end -= 1
    return text[start:end]


def _outer(letter: str) -> bool:
    return letter.isspace() or letter in _ALSO_PUNCTUATION or unicodedata.category(letter).startswith("P")
