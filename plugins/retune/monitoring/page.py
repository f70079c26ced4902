"""The head of a drift page: verdict and figures, readable without scripts."""

from __future__ import annotations

import html
from collections.abc import Sequence

from retune.records import DriftedColumn

EMPTY = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Drift</title></head>
<body>
</body></html>
"""

_HEAD = """<header style="font-family:sans-serif;margin:2em auto;max-width:60em">
<h1>{title}</h1>
<p>{reason}</p>
{table}
</header>"""

_TABLE = """<table style="border-collapse:collapse" cellpadding="6">
<thead><tr><th align="left">Column</th><th align="left">Distance</th><th align="right">Value</th>
<th align="right">Threshold</th><th align="left">Moved</th></tr></thead>
<tbody>
{rows}
</tbody></table>"""

_ROW = (
    '<tr><td>{name}</td><td>{method}</td><td align="right">{score:.3f}</td>'
    '<td align="right">{threshold:.3f}</td><td>{moved}</td></tr>'
)


def with_summary(page: str, title: str, reason: str, columns: Sequence[DriftedColumn]) -> str:
    """Return the page with title, reason and the columns' table at the head of its body.

    Args:
        page: A whole HTML page: `EMPTY` or Evidently's.
        title: The verdict; any text.
        reason: One line; any text.
        columns: What was compared; nothing is tabled where it is empty.
    """
    rows = [
        _ROW.format(
            name=html.escape(column.name),
            method=html.escape(column.method),
            score=column.score,
            threshold=column.threshold,
            moved="yes" if column.drifted else "no",
        )
        for column in columns
    ]
    table = _TABLE.format(rows="\n".join(rows)) if rows else ""
    head = _HEAD.format(title=html.escape(title), reason=html.escape(reason), table=table)
    return page.replace("<body>", f"<body>\n{head}", 1)
