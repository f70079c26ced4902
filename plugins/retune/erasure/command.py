"""`retune forget`: shows what a person's rows reached, and removes them where that is confirmed."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from retune.erasure.erase import erase
from retune.erasure.plan import Erasure, plan
from retune.settings import Settings
from retune.state.database import Database
from retune.state.replaced import open_artifacts
from retune.state.subjects import subject_hash

_NOT_COVERED = (
    "Not covered: the source files (their rows about this person are left out from now on; delete them"
    " there), weights that were trained on the rows, copies at a provider, the homes of other hosts (run"
    " this on each host that trains), logs, MLflow, backups, captured requests that are not word for word"
    " what a row asks or that a gateway's host has not handed in yet, and a run under way (run this again"
    " when it has ended)."
)


def forget(identity: str, confirmed: bool, actor: str, settings: Settings, console: Console) -> None:
    """Print what a person's rows reached; remove them only if that is confirmed.

    Args:
        identity: The person's ID, as the column `data.columns.subject` has it.
        confirmed: Whether to remove; else nothing is changed.
        actor: Who asks, for the ledger.
        settings: This installation.
        console: Takes the tables.

    Raises:
        RetuneError: As `plan` and `erase` say.
    """
    db = Database(settings.state_url)
    db.check()
    artifacts = open_artifacts(settings, db)
    subject, now = subject_hash(identity), datetime.now(UTC)
    if confirmed:
        found = erase(
            subject,
            actor,
            settings=settings,
            db=db,
            artifacts=artifacts,
            now=now,
            report=lambda line: console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True),
        )
    else:
        found = plan(subject, settings=settings, db=db, artifacts=artifacts, now=now)
    _print(found, console)
    console.print(_NOT_COVERED, soft_wrap=True)
    if not confirmed:
        console.print("[yellow]Nothing was changed.[/yellow] Say it again with --yes to do it.")
    else:
        console.print(f"[green]Forgotten[/green]: {subject}", soft_wrap=True)


def _print(found: Erasure, console: Console) -> None:
    console.print(f"subject {found.subject}: {len(found.rows.ids)} rows", soft_wrap=True)
    reached = Table("pipeline", "what", "rows", "then", title="reached", title_justify="left")
    for dataset in found.datasets:
        use = "trained on" if dataset.trained_on else "only judged on"
        reached.add_row(dataset.pipeline, f"dataset {dataset.digest[:19]}, {use}", str(dataset.rows), "stays")
    for model in found.models:
        what = f"model {model.digest[:19]}" if model.digest else f"job {model.job_key[:12]}, {model.status}"
        reached.add_row(model.pipeline, what, "", "cannot be untrained")
    for release in found.releases:
        use = "its model was trained on them" if release.trained_on else "it was judged on them"
        what = f"release {release.number}{', live' if release.live else ''}: {use}"
        due = release.live and release.pipeline in found.retrains
        reached.add_row(release.pipeline, what, "", "retrain" if due else "stays")
    files = Table("what", "rows", "then", title="rows and pages", title_justify="left")
    for file in found.files:
        files.add_row(
            file.title, str(file.rows), "removed" if file.blob.partial else "rewritten without them"
        )
    for page in found.pages:
        files.add_row(f"{page.kind} {page.digest[:19]} of {page.pipeline}", "", "removed")
    for path in (*found.local_texts, *(one.path for one in found.left)):
        files.add_row(str(path), "", "removed")
    for one in found.in_use:
        files.add_row(str(one.path), "", "stays: may be in use; run this again a day after it was written")
    for path, count in found.copies:
        files.add_row(str(path), str(count), "rewritten without them")
    for captured, _, count in found.traffic:
        files.add_row(f"captured traffic {captured}", str(count), "rewritten without them")
    for table in (reached, files):
        if table.row_count:
            console.print(table)
    if found.retrains:
        console.print(f"Retrain planned: {', '.join(found.retrains)}; the watch DAG starts it.")
