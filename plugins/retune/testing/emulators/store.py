"""What an emulator remembers: SQLite and files in a folder, whole again after a kill."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.artifacts import write_atomically

_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    created_at REAL NOT NULL, exists_at REAL NOT NULL, visible_at REAL NOT NULL, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS objects_in_order ON objects (kind, created_at, seq);
CREATE TABLE IF NOT EXISTS labels (
    name TEXT NOT NULL, value TEXT NOT NULL, object INTEGER NOT NULL, PRIMARY KEY (name, value, object)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    at REAL NOT NULL, UNIQUE (owner, id));
CREATE INDEX IF NOT EXISTS events_in_order ON events (owner, at, seq);
CREATE TABLE IF NOT EXISTS creations (job TEXT PRIMARY KEY, labels TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS bills (job TEXT PRIMARY KEY, amount REAL NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS fired (rule TEXT PRIMARY KEY, seen INTEGER NOT NULL, fired INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS problems (seq INTEGER PRIMARY KEY, what TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Entry:
    """One stored object."""

    seq: int
    id: str
    body: dict[str, Any]
    created_at: float
    """Seconds since 1970; lists are in this order."""


@dataclass(frozen=True)
class Page:
    """Some entries of a list, and whether more follow."""

    entries: Sequence[Entry]
    has_more: bool


class Store:
    """An emulator's folder.

    Every write is on the disk (fsync) when its transaction ends. Another process may read while the
    emulator runs or is down.

    Args:
        folder: Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "emulator.db", timeout=30, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_TABLES)
        self._depth = 0

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all writes of the block or none; a block inside another belongs to the outer one."""
        if self._depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._db.execute("COMMIT")

    def add(
        self,
        kind: str,
        name: str,
        body: Mapping[str, Any],
        *,
        at: float,
        visible_at: float | None = None,
        labels: Mapping[str, str] | None = None,
        job: bool = False,
    ) -> None:
        """Add an object.

        Args:
            kind: Such as `job` or `file`.
            name: Its ID.
            body: JSON.
            at: Seconds since 1970 from when it exists; before, nobody can get it.
            visible_at: From when lists show it; by default from when it exists.
            labels: What lists can be filtered by.
            job: Whether it is a job, whose creation is counted for ever.
        """
        seen = at if visible_at is None else visible_at
        with self.transaction():
            seq = self._db.execute(
                "INSERT INTO objects (kind, id, body, created_at, exists_at, visible_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (kind, name, _dump(body), at, at, seen),
            ).lastrowid
            pairs = dict(labels or {})
            rows = [(label, value, seq) for label, value in pairs.items()]
            self._db.executemany("INSERT INTO labels VALUES (?, ?, ?)", rows)
            if job:
                self._db.execute("INSERT INTO creations VALUES (?, ?, ?)", (name, _dump(pairs), at))

    def replace(self, kind: str, name: str, body: Mapping[str, Any]) -> None:
        """Put another body into an object."""
        with self.transaction():
            place = (_dump(body), kind, name)
            self._db.execute("UPDATE objects SET body = ? WHERE kind = ? AND id = ?", place)

    def remove(self, kind: str, name: str) -> None:
        """Remove an object; its creation stays counted."""
        with self.transaction():
            self._db.execute("DELETE FROM objects WHERE kind = ? AND id = ?", (kind, name))

    def get(self, kind: str, name: str, now: float) -> Entry | None:
        """Return an object, or None where it does not exist (yet)."""
        found = self._db.execute(
            "SELECT seq, id, body, created_at FROM objects WHERE kind = ? AND id = ? AND exists_at <= ?",
            (kind, name, now),
        ).fetchone()
        return None if found is None else _entry(found)

    def page(
        self,
        kind: str,
        now: float,
        *,
        limit: int,
        after: Entry | None = None,
        labels: Mapping[str, str] | None = None,
        unlabelled: bool = False,
        newest_first: bool = True,
    ) -> Page:
        """Return a page of the objects that lists show.

        Args:
            kind: Such as `job`.
            now: Seconds since 1970.
            limit: Most entries.
            after: The entry before the page's first.
            labels: Labels that an entry must have, with these values.
            unlabelled: Only entries without any label.
            newest_first: The order, by creation.
        """
        sql = "SELECT seq, id, body, created_at FROM objects WHERE kind = ? AND visible_at <= ?"
        given: list[Any] = [kind, now]
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        if after is not None:
            sql += f" AND (created_at, seq) {beyond} (?, ?)"
            given += [after.created_at, after.seq]
        for name, value in (labels or {}).items():
            sql += " AND seq IN (SELECT object FROM labels WHERE name = ? AND value = ?)"
            given += [name, value]
        if unlabelled:
            sql += " AND seq NOT IN (SELECT object FROM labels)"
        sql += f" ORDER BY created_at {order}, seq {order} LIMIT ?"
        rows = self._db.execute(sql, [*given, limit + 1]).fetchall()
        return Page([_entry(row) for row in rows[:limit]], len(rows) > limit)

    def all(self, kind: str) -> list[Entry]:
        """Return every object of a kind, also those that do not exist yet, oldest first."""
        rows = self._db.execute(
            "SELECT seq, id, body, created_at FROM objects WHERE kind = ? ORDER BY created_at, seq", (kind,)
        )
        return [_entry(row) for row in rows]

    def add_event(self, owner: str, name: str, body: Mapping[str, Any], at: float) -> None:
        """Add an event of an object; one that is there under its ID already is left alone."""
        with self.transaction():
            row = (owner, name, _dump(body), at)
            self._db.execute("INSERT OR IGNORE INTO events (owner, id, body, at) VALUES (?, ?, ?, ?)", row)

    def events(self, owner: str) -> list[Entry]:
        """Return the events of an object, oldest first."""
        rows = self._db.execute(
            "SELECT seq, id, body, at FROM events WHERE owner = ? ORDER BY at, seq", (owner,)
        )
        return [_entry(row) for row in rows]

    def write_file(self, name: str, data: bytes) -> None:
        """Keep a file's bytes."""
        write_atomically(self.files / name, data)

    def read_file(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self.files / name).read_bytes()

    def bill(self, job: str, amount: float, at: float) -> None:
        """Bill a job; a job that was billed is not billed again."""
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO bills VALUES (?, ?, ?)", (job, amount, at))

    def bills(self) -> dict[str, float]:
        """Return job -> amount of all that were billed."""
        return dict(self._db.execute("SELECT job, amount FROM bills").fetchall())

    def creations(self) -> dict[str, dict[str, str]]:
        """Return job -> labels of every job that was ever created, oldest first."""
        rows = self._db.execute("SELECT job, labels FROM creations ORDER BY at, rowid")
        return {job: json.loads(labels) for job, labels in rows}

    def fired(self, rule: str) -> tuple[int, int]:
        """Return how many requests a fault's rule has seen, and how often it fired."""
        found = self._db.execute("SELECT seen, fired FROM fired WHERE rule = ?", (rule,)).fetchone()
        return (0, 0) if found is None else (int(found[0]), int(found[1]))

    def set_fired(self, rule: str, seen: int, fired: int) -> None:
        """Remember how often a rule has seen a request, and fired."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO fired VALUES (?, ?, ?)", (rule, seen, fired))

    def add_problem(self, what: str) -> None:
        """Remember a fault of the emulator itself, such as an answer against the contract."""
        with self.transaction():
            self._db.execute("INSERT INTO problems (what) VALUES (?)", (what,))

    def problems(self) -> list[str]:
        """Return the emulator's own faults."""
        return [what for (what,) in self._db.execute("SELECT what FROM problems ORDER BY seq")]


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """Open a store for the block."""
    with closing(Store(folder)) as store:
        yield store


def _entry(row: tuple[int, str, str, float]) -> Entry:
    seq, name, body, at = row
    return Entry(seq, name, json.loads(body), at)


def _dump(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
