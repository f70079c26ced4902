"""A benchmark's figures: one line each, kept as JSON, and what must hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Line = tuple[str, str, Any, Callable[[Any], bool], str]
"""Kind (`must` or `goal`), name, figure, whether it will do, and what was wished."""


def tell(results: dict[str, Any], lines: Iterable[Line], file: Path) -> None:
    """Print a line a figure, write the results with their verdicts, and end with 1 where a `must` fails.

    Args:
        results: What was measured.
        lines: What of it counts; a `goal` that is missed is printed as SHORT.
        file: Where the results go.
    """
    failed = []
    results["verdicts"] = {}
    for kind, name, figure, will_do, wished in lines:
        word = "ok" if will_do(figure) else "FAILED" if kind == "must" else "SHORT"
        failed += [name] if word == "FAILED" else []
        results["verdicts"][name] = f"{word}: {figure} ({kind}: {wished})"
        print(f"{word:7}{kind:5} {name}: {figure:,} (wished: {wished})")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
