"""The rows: read from canonical JSONL, and refused where nothing good can be learned from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retune.errors import BackendError, Problem

Row = dict[str, list[dict[str, str]]]
_LEARNED = {"role", "content", "name"}


def read(path: Path, method: str) -> list[Row]:
    """Read a canonical JSONL file: one object with `messages` a line, and `rejected` for DPO.

    Args:
        path: The file.
        method: sft or dpo.

    Returns:
        Rows with `messages`, and with `rejected` where the method is dpo.

    Raises:
        BackendError: Lists every line that is no such row.
    """
    rows, problems = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found = json.loads(line)
            turns = {"messages": found["messages"]}
            if method == "dpo":
                turns["rejected"] = found.get("rejected", [])
            row = {
                name: [{"role": m["role"], "content": m["content"]} for m in turns[name]] for name in turns
            }
            rows.append(row)
            problems += [
                Problem(what, action, str(path), number) for what, action in _flaws(found, turns, row)
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"not a conversation: {type(error).__name__}: {error}"
            problems.append(Problem(what, "prepare the data again", str(path), number))
    if not rows and not problems:
        problems.append(Problem("no conversation in it", "prepare the data again", str(path)))
    if problems:
        raise BackendError(problems)
    return rows


def _flaws(found: Any, turns: dict[str, Any], row: Row) -> list[tuple[str, str]]:
    """Say what the trainer could not heed in a row, and what to do about it."""
    flaws = []
    # A weight stands there only where it is 0.
    beyond = {key for side in turns.values() for m in side for key in m if key not in _LEARNED}
    beyond |= {"tools"} & found.keys()
    if beyond:
        what = f"has {', '.join(sorted(beyond))}, of which the local trainer would learn nothing"
        flaws.append((what, "take these rows out with data.where"))
    if "rejected" in row:
        if not row["rejected"] or row["rejected"][-1]["role"] != "assistant":
            flaws.append(("has no rejected answer, which dpo needs", "add `rejected`, or use method sft"))
        elif row["rejected"] == row["messages"][-len(row["rejected"]) :]:
            flaws.append(("rejects the very answer that it prefers", "take these rows out"))
    return flaws
