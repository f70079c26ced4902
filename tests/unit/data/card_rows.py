"""A spool and a table of examples, made from rows as the data stage would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from retune.data.spool import Segment, Spool
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation, conversation, write_conversation


def spooled(
    folder: Path, rows: Iterable[Conversation], labelled: bool = True, number: int = 0
) -> tuple[pl.DataFrame, Spool]:
    """Write conversations into a segment; each stands at its own line of `rows.jsonl`."""
    folder.mkdir(exist_ok=True)
    segment = Segment(folder, number)
    found = []
    for line, row in enumerate(rows, start=1):
        place, size = segment.add(write_conversation(row))
        label = row.completion if labelled else ""
        found.append(
            {
                "id": row.id,
                "fingerprint": row.fingerprint,
                "label": label,
                "file": "rows.jsonl",
                "line": line,
                "stratum": label,
                "prompt_chars": len(row.prompt),
                "completion_chars": len(row.completion),
                "segment": number,
                "place": place,
                "size": size,
            }
        )
    segment.close()
    return pl.DataFrame(found), Spool(folder)


def with_sides(examples: pl.DataFrame) -> pl.DataFrame:
    """Put 7 of 10 rows into training, 1 into validation, 2 into the held-out set, in turn."""
    side = (["train"] * 7 + ["validation"] + ["held_out"] * 2) * (examples.height // 10 + 1)
    return examples.with_columns(side=pl.Series(side[: examples.height]))


def tickets(labels: Sequence[str], each: int) -> list[Conversation]:
    """Rows whose words tell their label."""
    return [
        conversation("", f"please help me with {label} number {n} of {label}s", label)
        for n in range(each)
        for label in labels
    ]


def spec(kind: str = "classification", **data: Any) -> PipelineSpec:
    return PipelineSpec.model_validate(
        {
            "version": 1,
            "pipeline": "tickets",
            "data": {"sources": ["rows.jsonl"], "columns": {"prompt": "text", "completion": "queue"}, **data},
            "task": {"kind": kind},
            "recipes": [{"base_model": "base"}],
            "evaluation": {"endpoint": "e"},
            "deploy": {"endpoint": "e", "alias": "tickets"},
        }
    )
