"""What was stored under a digest and is no more: by what it was replaced, or why it is gone.

A content address may not lie, so bytes without a person's rows have an address of their own. Whoever
asks for the old one is led on, and what comes is checked against its own digest as everything is.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from retune.artifacts import Artifacts, Replaced
from retune.settings import Settings
from retune.state.database import Database, stamp
from retune.state.tables import replaced


def put(tx: Connection, digest: str, by: str | None, reason: str, now: datetime) -> None:
    """Note what stands for a digest from now on; None: nothing does."""
    values = {"by": by, "reason": reason, "at": stamp(now)}
    if tx.execute(update(replaced).where(replaced.c.digest == digest).values(**values)).rowcount == 0:
        tx.execute(insert(replaced).values(digest=digest, **values))


def find(tx: Connection, digest: str) -> Replaced | None:
    """Return what stands for a digest, or None where it stands for itself."""
    row = tx.execute(select(replaced).where(replaced.c.digest == digest)).first()
    return None if row is None else Replaced(row.by, row.reason)


def successors(tx: Connection) -> dict[str, str | None]:
    """Return every digest that was replaced -> the one that stands for it, if one does."""
    return {row.digest: row.by for row in tx.execute(select(replaced))}


def open_artifacts(settings: Settings, db: Database) -> Artifacts:
    """Return the store of an installation, which leads on from what was replaced."""

    def look_up(digest: str) -> Replaced | None:
        with db.read() as tx:
            return find(tx, digest)

    return Artifacts(settings.artifacts_url, look_up)
