"""What a detector hands over, and the placeholders that stand for it."""

from __future__ import annotations

import re
from typing import NamedTuple

# Parts the messages of a conversation while they are searched as one text; no detector matches it.
SEPARATOR = "\0"
PLACEHOLDER = re.compile(
    r"<(?P<kind>EMAIL|PHONE|IBAN|CARD|NATIONAL_ID|IP|ADDRESS|SECRET)_(?P<number>[0-9]{1,9})>"
)


class Found(NamedTuple):
    """One finding.

    Attributes:
        start: Where it begins in the text.
        end: Where it ends.
        kind: One of `privacy.KINDS`.
        value: The normalised value; equal ones share a placeholder.
    """

    start: int
    end: int
    kind: str
    value: str
