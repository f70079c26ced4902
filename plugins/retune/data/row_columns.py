"""The columns that a spec names beside the conversation, such as a row's time, group and slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from retune.artifacts import canonical_json
from retune.data.cleaning import clean_text
from retune.data.turns import ShapeError
from retune.spec.data import Privacy
from retune.text import privacy

LONGEST_SLICE = 80
"""Characters of a slice's name; what is longer is cut."""


def named_values(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return the columns that the spec names beside the conversation, as text; nothing for null.

    Raises:
        ShapeError: The row lacks one, or it is neither text nor a number.
    """
    found = {}
    for column in names:
        if column not in values:
            seen = ", ".join(list(values)[:10]) or "nothing"
            raise ShapeError(
                f"column {column!r} is missing; the row has {seen:.200}", "mend the row or the spec"
            )
        value = values[column]
        if isinstance(value, dict | list):
            raise ShapeError(f"column {column!r} is a {type(value).__name__}", "write text or a number")
        found[column] = "" if value is None else str(value)
    return found


def seconds_of(text: str) -> float:
    """Return a time as seconds since 1970; raises ShapeError where it is none."""
    try:
        seconds = float(text)
        if isfinite(seconds):
            return seconds
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        action = "write ISO 8601, or seconds since 1970"
        raise ShapeError(f"{text!r:.60} in the column of data.split.by_time is no time", action) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def slices_of(named: Mapping[str, str], columns: Sequence[str], rule: Privacy) -> str:
    """Return which slices a row is in, as JSON of column -> value; nothing where no column is asked for.

    Args:
        named: As `named_values` returned them.
        columns: Those of `gate.slices.by`.
        rule: Unless personal data is allowed, placeholders stand for it here too.
    """
    if not columns:
        return ""
    texts = [clean_text(named[column]) for column in columns]
    if rule != "allow":
        texts, _ = privacy.redact(texts)
    # Cut last: half of an address would not be found any more.
    shown = [text[:LONGEST_SLICE].strip() for text in texts]
    return canonical_json(dict(zip(columns, shown, strict=True))).decode()
