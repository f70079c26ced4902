"""`retune jobs`: what trains, and how a person stops, rests or resumes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retune.backends.base import ENDED, Backend, Installation, Pausable, load_backend
from retune.backends.jobs import Site
from retune.backends.stopping import cancel_stored
from retune.errors import BackendError
from retune.records import Job, Recipe
from retune.settings import EnvironmentConnections, Settings
from retune.state import jobs
from retune.state.database import Database
from retune.state.jobs import JobRow
from retune.state.replaced import open_artifacts

_SHORT = 12


def list_jobs(everything: bool, settings: Settings, console: Console) -> None:
    """Print the jobs, oldest first.

    Args:
        everything: Whether also those that have ended.
        settings: This installation.
        console: Takes the table.

    Raises:
        StateError: The state cannot be read.
    """
    db = Database(settings.state_url)
    db.check()
    with db.read() as tx:
        known = jobs.list_all(tx)
    shown = [(row, ended) for row, ended in known if everything or row.status not in ENDED]
    if not shown:
        hint = f"; {len(known)} have ended: --all shows them" if known else ""
        console.print(f"No job is under way{hint}.", highlight=False)
        return
    table = Table("key", "pipeline", "recipe", "attempt", "status", "ended (UTC)", "where")
    for row, ended in shown:
        where = row.job.url or row.job.provider_id if row.job else "not submitted yet"
        cells = (
            _short(row.key),
            row.pipeline,
            _title(row),
            str(row.attempt),
            f"{row.status}: {row.error}" if row.error else str(row.status),
            f"{ended:%Y-%m-%d %H:%M}" if ended else "",
            where,
        )
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    console.print(table)


def cancel(key: str, settings: Settings, report: Callable[[str], None]) -> None:
    """Cancel a running job at its provider, for good.

    Args:
        key: The job's, or its beginning.
        settings: This installation.
        report: Takes what was done.

    Raises:
        BackendError: No one job has that key, it does not run, or it cannot be cancelled from here.
    """
    title, row, db = _open(key, settings)
    site = Site(_installation(settings, db), db, report)
    if not cancel_stored(row.key, site):
        raise BackendError(f"{title} has ended meanwhile", "look: retune jobs list --all")
    report(f"{title} is cancelled")


def pause(key: str, settings: Settings, report: Callable[[str], None]) -> None:
    """Let a running job rest at its provider.

    Args:
        key: The job's, or its beginning.
        settings: This installation.
        report: Takes what was done.

    Raises:
        BackendError: No one job has that key, it does not run, or its backend cannot pause jobs.
    """
    found = _running(key, settings)
    found.pausable().pause(found.job)
    report(f"{found.title} rests; it goes on with: retune jobs resume {_short(found.job.key)}")


def resume(key: str, settings: Settings, report: Callable[[str], None]) -> None:
    """Let a resting job go on; takes and raises what `pause` does."""
    found = _running(key, settings)
    found.pausable().resume(found.job)
    report(f"{found.title} goes on")


@dataclass(frozen=True)
class _Running:
    """A job that its provider has, and that has not ended."""

    title: str
    job: Job
    installation: Installation

    def pausable(self) -> Pausable:
        backend: Backend = load_backend(self.job.backend, self.installation, self.job.place)
        if not isinstance(backend, Pausable):
            raise BackendError(
                f"{self.title}: {backend.name} jobs cannot rest",
                f"let it run, or stop it for good: retune jobs cancel {_short(self.job.key)}",
            )
        return backend


def _open(key: str, settings: Settings) -> tuple[str, JobRow, Database]:
    """Return a job that has not ended, with a title for people."""
    db = Database(settings.state_url)
    db.check()
    row = _find(key, db)
    title = f"job {_short(row.key)} ({row.pipeline}, {_title(row)})"
    if row.status in ENDED:
        raise BackendError(f"{title} has ended: {row.status}", "look: retune jobs list --all")
    return title, row, db


def _installation(settings: Settings, db: Database) -> Installation:
    return Installation(settings, open_artifacts(settings, db), EnvironmentConnections())


def _running(key: str, settings: Settings) -> _Running:
    title, row, db = _open(key, settings)
    if row.job is None:
        raise BackendError(
            f"{title} has not been submitted, as far as is known here",
            f"stop it for good: retune jobs cancel {_short(row.key)}; or let its task run again",
        )
    return _Running(title, row.job, _installation(settings, db))


def _find(key: str, db: Database) -> JobRow:
    with db.read() as tx:
        known = [row for row, _ in jobs.list_all(tx)]
    exact = [row for row in known if row.key == key]
    found = exact or [row for row in known if key and row.key.startswith(key)]
    if not found:
        raise BackendError(f"no job's key begins with {key!r}", "look: retune jobs list --all")
    if len(found) > 1:
        raise BackendError(
            f"{len(found)} jobs' keys begin with {key!r}: {', '.join(row.key for row in found)}",
            "give more of the key",
        )
    return found[0]


def _title(row: JobRow) -> str:
    recipe = row.intent.get("recipe")
    return Recipe.from_json(recipe).title if recipe else row.backend


def _short(key: str) -> str:
    return key[:_SHORT]
