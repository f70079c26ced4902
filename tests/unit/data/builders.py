"""Tables of examples, made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from retune.text.conversations import conversation


def example(prompt: str, label: str = "", **more: Any) -> dict[str, Any]:
    row = conversation("", prompt, label)
    made = {"id": row.id, "fingerprint": row.fingerprint, "label": label, "stratum": label}
    belongs = {"group": "", "slices": "", "time": 0.0, "subject": ""}
    return {**made, "file": "a.jsonl", "line": 1, **belongs, "mark": 0, **more}


def table(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Return the rows as a table, sorted by id as `prepare` has it."""
    found = pl.DataFrame(list(rows), infer_schema_length=None)
    return found.sort("id", "line") if found.height else pl.DataFrame([example("x", "y")]).clear()
