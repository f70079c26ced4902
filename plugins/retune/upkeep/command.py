"""`retune cleanup`: shows what would go, and removes it where that is confirmed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from retune.settings import Settings
from retune.state.database import Database
from retune.state.replaced import open_artifacts
from retune.upkeep.mark import Plan
from retune.upkeep.sweep import Upkeep


def cleanup(confirmed: bool, settings: Settings, console: Console) -> None:
    """Print what nothing points at any more; remove it only if that is confirmed.

    Args:
        confirmed: Whether to remove; else nothing is changed.
        settings: This installation.
        console: Takes the table.

    Raises:
        RetuneError: As `Upkeep.plan` and `Upkeep.sweep` say.
    """
    db = Database(settings.state_url)
    db.check()
    upkeep = Upkeep(settings, db, open_artifacts(settings, db), datetime.now(UTC))
    plan = upkeep.plan()
    table = Table("what", "how many", "bytes", "why", title="may go", title_justify="left")
    for row in summary(plan):
        table.add_row(*map(str, row))
    if table.row_count:
        console.print(table)
    else:
        console.print("Nothing may go.")
    if confirmed:
        freed = upkeep.sweep(plan, lambda line: console.print(f"  {line}", markup=False, soft_wrap=True))
        console.print(f"[green]{freed} bytes are free again[/green]")
    elif table.row_count:
        console.print("[yellow]Nothing was changed.[/yellow] Say it again with --yes to do it.")


def summary(plan: Plan) -> Iterator[tuple[str, int, int, str]]:
    """Yield what, how many, bytes and why, for each kind of thing."""
    parts = (
        ("artifacts", plan.blobs),
        ("captured traffic", plan.traffic),
        ("job folders", plan.jobs),
        ("working files", plan.scratch),
        ("models' answers", plan.answers),
    )
    for what, pairs in parts:
        groups: dict[str, list[int]] = defaultdict(list)
        for thing, reason in pairs:
            groups[reason].append(thing.size)
        for reason, sizes in sorted(groups.items()):
            yield what, len(sizes), sum(sizes), reason
    if plan.pages:
        yield "pages in the index", len(plan.pages), 0, "what they show is not kept"
    if plan.datasets:
        yield "datasets' subjects", len(plan.datasets), 0, "nothing is left of their rows"
