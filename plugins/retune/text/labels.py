"""Which label an answer names."""

from __future__ import annotations

from collections.abc import Collection


def match_label(answer: str, labels: Collection[str]) -> str:
    """Return the label that the answer is, or an empty string.

    Only outer white space is forgiven: case, punctuation and words around a label are errors,
    since a caller that routes on the answer could not use them either.

    Args:
        answer: The model's answer as it came.
        labels: The classes.
    """
    stripped = answer.strip()
    return stripped if stripped in labels else ""
