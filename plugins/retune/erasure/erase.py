"""Takes a person's rows out of all that they reached."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from retune import stored
from retune.artifacts import Artifacts, write_atomically
from retune.erasure.places import PARTIAL
from retune.erasure.plan import Erasure, ReachedFile, plan
from retune.erasure.rows import Rows, Without
from retune.errors import ArtifactError
from retune.records import Exchange
from retune.settings import Settings
from retune.state import ledger, replaced, retrains, subjects
from retune.state.database import Database, serialise
from retune.text.traffic import dump

_LEDGER = "retune"
_REASON = "it held or may have shown rows of a person who is forgotten"


def erase(
    subject: str,
    actor: str,
    *,
    settings: Settings,
    db: Database,
    artifacts: Artifacts,
    now: datetime,
    report: Callable[[str], None] = print,
) -> Erasure:
    """Remove a person's rows, and plan the trainings that must follow.

    Killed at any moment, it ends in the same state when it is run again.

    Args:
        subject: The person's hash (`subjects.subject_hash`).
        actor: Who asks, for the ledger.
        settings: This installation.
        db: The state.
        artifacts: The store.
        now: The time.
        report: Takes a line for each thing that was done.

    Returns:
        What was found, and is removed now.

    Raises:
        StateError: The state cannot be written.
        ArtifactError: Something cannot be removed; the rest goes when it is run again.
        DataError: Captured traffic cannot be read.
    """
    with db.write() as tx:
        # First of all: from here on no dataset with these rows can be registered.
        serialise(tx, "rows")
        subjects.forget(tx, subject, actor, now)
    found = plan(subject, settings=settings, db=db, artifacts=artifacts, now=now)
    with db.write() as tx:
        # Before anything is removed: later nobody could tell what was trained on the rows.
        _note(tx, found, actor, now)
    try:
        _remove_all(found, settings, db, artifacts, now, report)
    except OSError as error:
        raise ArtifactError(
            f"not all that {subject} reached could be removed: {error}",
            "mend the permissions or the disk, then run it again: it goes on where it stopped",
        ) from error
    return found


def _remove_all(
    found: Erasure,
    settings: Settings,
    db: Database,
    artifacts: Artifacts,
    now: datetime,
    report: Callable[[str], None],
) -> None:
    # Traffic is known by what the rows ask, so it goes first, and the rows last.
    for captured, kept, gone in found.traffic:
        _rewrite_traffic(settings, captured, kept)
        report(f"captured traffic {captured}: {gone} requests removed")
    for page in found.pages:
        _remove(page.digest, None, db, artifacts, now)
        report(f"{page.kind} {page.digest} of {page.pipeline}: removed")
    for path in (*found.local_texts, *(one.path for one in found.left)):
        stored.remove_local(path)
        report(f"{path}: removed")
    for path, count in found.copies:
        _rewrite_copy(path, found.rows)
        report(f"{path}: {count} rows removed")
    for file in found.files:
        _rewrite(file, found.rows, settings, db, artifacts, now)
        report(f"{file.title} ({file.blob.digest}): {file.rows} rows removed")


def _note(tx: Connection, found: Erasure, actor: str, now: datetime) -> None:
    """Write down what is tainted, what must follow, and, once a person, the ledger's entry."""
    for one in found.datasets:
        if one.trained_on:
            retrains.taint(tx, one.pipeline, one.digest, now)
    known = ledger.entries(tx, _LEDGER)
    if any(entry.event == "erasure" and entry.detail["subject"] == found.subject for entry in known):
        return
    for pipeline in found.retrains:
        retrains.want(tx, pipeline, retrains.ERASURE, now)
    ledger.append(tx, _LEDGER, "erasure", actor, summary(found), now)


def summary(found: Erasure) -> dict[str, Any]:
    """Return what was reached as plain JSON: by digests and numbers, without a word of a row."""
    return {
        "subject": found.subject,
        "rows": len(found.rows.ids),
        "datasets": [
            {"pipeline": one.pipeline, "digest": one.digest, "rows": one.rows, "trained_on": one.trained_on}
            for one in found.datasets
        ],
        "models": [
            {"pipeline": one.pipeline, "digest": one.digest, "job": one.job_key} for one in found.models
        ],
        "releases": [
            {
                "pipeline": one.pipeline,
                "number": one.number,
                "trained_on": one.trained_on,
                "live": one.live,
            }
            for one in found.releases
        ],
        "files": [file.blob.digest for file in found.files],
        "pages": [page.digest for page in found.pages],
        "job_copies": len(found.copies),
        "captured_requests": sum(gone for _, _, gone in found.traffic),
        "retrains": list(found.retrains),
    }


def _rewrite(
    file: ReachedFile, rows: Rows, settings: Settings, db: Database, artifacts: Artifacts, now: datetime
) -> None:
    """Store the file without the rows, lead its digest on, and remove it, in this order."""
    if file.blob.partial:
        stored.remove(artifacts, file.blob)
        return
    by = None
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="forget-", dir=settings.home) as folder:
        files, path = artifacts.place(file.blob.digest)
        target = Path(folder) / "rows"
        try:
            with files.open(path, "rb") as source, target.open("wb") as out:
                kept = Without(source, rows)
                out.writelines(kept)
        except FileNotFoundError:
            return  # somebody else forgets the same person
        # A damaged file does not get a good name by being rewritten: it goes as a whole.
        if kept.digest == file.blob.digest:
            by = artifacts.put_file(target, "application/jsonl").digest
    _remove(file.blob.digest, by, db, artifacts, now)


def _remove(digest: str, by: str | None, db: Database, artifacts: Artifacts, now: datetime) -> None:
    with db.write() as tx:
        replaced.put(tx, digest, by, _REASON, now)
    files, path = artifacts.place(digest)
    with suppress(FileNotFoundError):
        files.rm_file(path)


def _rewrite_copy(path: Path, rows: Rows) -> None:
    try:
        with path.open("rb") as source:
            kept = b"".join(Without(source, rows))
    except FileNotFoundError:
        return  # a cleanup removed the whole folder
    write_atomically(path, kept)


def _rewrite_traffic(settings: Settings, path: str, kept: list[Exchange]) -> None:
    import fsspec

    files, _ = fsspec.url_to_fs(settings.captured_url)
    with suppress(FileNotFoundError):  # a cleanup removed the whole day
        if path.endswith(PARTIAL):
            # The agent that was killed there writes all of it once more.
            files.rm_file(path)
        else:
            files.pipe_file(f"{path}{PARTIAL}", dump(kept))
            files.mv(f"{path}{PARTIAL}", path)
