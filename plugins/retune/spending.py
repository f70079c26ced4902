"""`retune spending`: what each pipeline has spent this month, and what it may."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from retune.spec.budget import dollars
from retune.state import specs, spending
from retune.state.database import Database


def spending_table(db: Database, now: datetime) -> Table:
    """Return a table with the money of every pipeline in the calendar month (UTC) of that time.

    Args:
        db: Retune's state.
        now: Any time of the month.

    Raises:
        StateError: The state cannot be read.
    """
    title = f"Spending in {now.astimezone(UTC):%B %Y} (UTC)"
    table = Table(title=title, title_justify="left", show_footer=True)
    with db.read() as tx:
        names = sorted({*specs.pipelines(tx), *spending.pipelines(tx, now)})
        rows = [(name, spending.spent(tx, name, now), specs.latest(tx, name)) for name in names]
        total = spending.spent(tx, None, now)
    table.add_column("pipeline", "all" if rows else "")
    for head, foot in zip(("jobs", "paid", "reserved", "cost not known"), _cells(total), strict=True):
        table.add_column(head, foot, justify="right")
    table.add_column("budget a month", justify="right")
    for name, month, spec in rows:
        limit = spec.budget.monthly_usd if spec else None
        table.add_row(Text(name), *_cells(month), "none" if limit is None else dollars(limit))
    return table


def _cells(month: spending.Spent) -> tuple[str, str, str, str]:
    return (
        str(month.jobs),
        dollars(month.settled),
        dollars(month.reserved),
        str(month.unpriced or ""),
    )
