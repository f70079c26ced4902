"""Feature tables built by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd

from retune.data.features import to_table


def table_of(
    rows: int, planted: dict[int, dict[str, Any]] | None = None, **columns: list[Any]
) -> pd.DataFrame:
    """A table of good rows of `rows.jsonl`, but for the planted ones: line -> what differs there."""
    good: dict[str, Any] = {
        "retune_file": "rows.jsonl",
        "retune_flaw": None,
        "retune_roles_in_order": True,
        "retune_ends_with_assistant": True,
        "retune_turns": 2,
        "retune_prompt_chars": 40,
        "retune_completion_chars": 7,
        "retune_tokens": 20,
        "retune_language": "en",
    }
    table: dict[str, list[Any]] = {name: [value] * rows for name, value in good.items()}
    table["retune_line"] = list(range(1, rows + 1))
    table["retune_label"] = [("billing", "returns")[number % 2] for number in range(rows)]
    table |= columns
    for line, values in (planted or {}).items():
        for name, value in values.items():
            table[name][line - 1] = value
    return to_table(table)


FLAWED = {
    "retune_flaw": "<script>alert(1)</script> is no role",
    "retune_roles_in_order": None,
    "retune_ends_with_assistant": None,
    "retune_prompt_chars": None,
    "retune_completion_chars": None,
    "retune_tokens": None,
    "retune_label": None,
    "retune_language": None,
}
"""A row that is no conversation: nothing else is known of it."""
