"""The table of what each pipeline has spent this month."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from retune.spec.budget import Budget
from retune.spending import spending_table
from retune.state import specs, spending
from retune.state.database import Database
from tests.unit.evaluation.builders import SPEC

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    yield database
    database.engine.dispose()


def shown(db: Database) -> list[list[str]]:
    """Return the table's lines as a person reads them, cell by cell."""
    console = Console(record=True, width=200)
    console.print(spending_table(db, NOW))
    lines = console.export_text().replace("┃", "│").splitlines()
    return [[lines[0].strip()]] + [
        [cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")
    ]


def test_every_pipeline_with_its_budget_and_all_together(db: Database) -> None:
    with db.write() as tx:
        specs.freeze(tx, SPEC.model_copy(update={"budget": Budget(monthly_usd=200.0)}), NOW)
        specs.freeze(tx, SPEC.model_copy(update={"pipeline": "idle"}), NOW)
        spending.reserve(tx, "a", "tickets", 30.0, NOW)
        spending.settle(tx, "a", 28.5, NOW)
        spending.reserve(tx, "b", "tickets", 12.0, NOW)
        spending.reserve(tx, "c", "mails", None, NOW)
        spending.reserve(tx, "last month", "tickets", 99.0, NOW - timedelta(days=30))
    assert shown(db) == [
        ["Spending in November 2026 (UTC)"],
        ["pipeline", "jobs", "paid", "reserved", "cost not known", "budget a month"],
        ["idle", "0", "0.00 USD", "0.00 USD", "", "none"],
        ["mails", "1", "0.00 USD", "0.00 USD", "1", "none"],
        ["tickets", "2", "28.50 USD", "12.00 USD", "", "200.00 USD"],
        ["all", "3", "28.50 USD", "12.00 USD", "1", ""],
    ]


def test_nothing_yet(db: Database) -> None:
    assert shown(db)[2:] == [["", "0", "0.00 USD", "0.00 USD", "", ""]]
