"""The peer of `benchmarks.data`: chat rows judged as a team's script does it, with json and stock rules."""

from __future__ import annotations

import json
import time
import unicodedata
from pathlib import Path
from typing import Any


def judge_with_plain_script(file: Path, max_tokens: int) -> tuple[dict[str, int], float]:
    """Return the verdicts as `benchmarks.data.intake` names them, and the seconds."""
    import great_expectations as gx
    import pandas as pd

    context: Any = gx.get_context(mode="ephemeral")
    start = time.perf_counter()
    rows = []
    with file.open(encoding="utf-8") as opened:
        for line in opened:
            rows.append(features(json.loads(line)))
    table = pd.DataFrame(rows)
    source = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = source.add_batch_definition_whole_dataframe("all")
    of = gx.expectations
    suite = gx.ExpectationSuite(
        name="rows",
        expectations=[
            of.ExpectTableRowCountToBeBetween(min_value=1),
            of.ExpectColumnValuesToBeInSet(column="well_formed", value_set=[True]),
            of.ExpectColumnValuesToBeInSet(column="in_order", value_set=[True]),
            of.ExpectColumnValuesToBeInSet(column="last", value_set=["assistant"]),
            of.ExpectColumnValuesToBeBetween(column="asked", min_value=1),
            of.ExpectColumnValuesToBeBetween(column="answered", min_value=1, mostly=0.9),
            of.ExpectColumnValuesToBeBetween(column="tokens", max_value=max_tokens),
            of.ExpectColumnValuesToBeBetween(column="turns", min_value=2, max_value=50),
            of.ExpectColumnValuesToBeBetween(column="asked", min_value=1, max_value=100_000),
            of.ExpectColumnValuesToBeBetween(column="answered", max_value=100_000),
            of.ExpectCompoundColumnsToBeUnique(column_list=["question", "answer"], mostly=0.5),
        ],
    )
    suite = context.suites.add(suite)
    definition = gx.ValidationDefinition(name="rows", data=batch, suite=suite)
    result = context.validation_definitions.add(definition).run(batch_parameters={"dataframe": table})
    assert result.success
    full = table[table["answered"] > 0]
    counts = {
        "rows": len(table),
        "empty": broken(result, column="answered", min_value=1),
        "out of order": broken(result, column="in_order"),
        "duplicates": int(full.duplicated(["question", "answer"]).sum()),
    }
    return counts, time.perf_counter() - start


def broken(result: Any, **kwargs: Any) -> int:
    """Return how many rows break the rule with these arguments."""
    [one] = [one for one in result.results if kwargs.items() <= one.expectation_config.kwargs.items()]
    return int(one.result["unexpected_count"])


def features(row: dict[str, Any]) -> dict[str, Any]:
    messages = row["messages"]
    roles = [message["role"] for message in messages]
    texts = [unicodedata.normalize("NFC", message["content"]).strip() for message in messages]
    asked = [text for role, text in zip(roles, texts, strict=True) if role == "user"]
    turns = [role for role in roles if role != "system"]
    return {
        "well_formed": all(isinstance(message["content"], str) for message in messages),
        "in_order": turns == ["user", "assistant"] * (len(turns) // 2),
        "last": roles[-1],
        "asked": len(asked[-1]) if asked else 0,
        "answered": len(texts[-1]),
        "tokens": sum(map(len, texts)) // 4,
        "turns": len(messages),
        "question": " ".join(" ".join(texts[:-1]).split()),
        "answer": texts[-1],
    }
