"""The ledger: what was live when, by whom, on which evidence. Each entry hashes the one before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from retune.artifacts import digest_of_json
from retune.errors import StateError
from retune.state.database import stamp, when
from retune.state.tables import ledger

_START = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    seq: int
    pipeline: str
    event: str
    actor: str
    detail: dict[str, Any]
    at: datetime
    hash: str


def append(
    tx: Connection, pipeline: str, event: str, actor: str, detail: dict[str, Any], now: datetime
) -> Entry:
    """Add an entry; two writers at once are put in order by the database."""
    last = tx.execute(select(ledger.c.seq, ledger.c.hash).order_by(ledger.c.seq.desc()).limit(1)).first()
    seq = last.seq + 1 if last else 1
    values = {
        "seq": seq,
        "pipeline": pipeline,
        "event": event,
        "actor": actor,
        "detail": detail,
        "at": stamp(now),
        "previous": last.hash if last else _START,
    }
    digest = digest_of_json(values)
    tx.execute(insert(ledger).values(**values, hash=digest))
    return Entry(seq, pipeline, event, actor, detail, now, digest)


def entries(tx: Connection, pipeline: str | None = None) -> list[Entry]:
    """Return the entries of one pipeline or of all, oldest first."""
    query = select(ledger).order_by(ledger.c.seq)
    if pipeline is not None:
        query = query.where(ledger.c.pipeline == pipeline)
    return [
        Entry(
            row["seq"],
            row["pipeline"],
            row["event"],
            row["actor"],
            row["detail"],
            when(row["at"]),
            row["hash"],
        )
        for row in tx.execute(query).mappings()
    ]


def verify(tx: Connection) -> int:
    """Check the whole chain and return its length.

    Raises:
        StateError: An entry was changed, removed or put in between.
    """
    previous, seq = _START, 0
    for row in tx.execute(select(ledger).order_by(ledger.c.seq)).mappings():
        values = {key: value for key, value in row.items() if key != "hash"}
        seq += 1
        if row["seq"] != seq or row["previous"] != previous or digest_of_json(values) != row["hash"]:
            raise StateError(
                f"ledger entry {row['seq']} does not follow from the one before it",
                "the ledger was changed by hand: compare it with a backup",
            )
        previous = row["hash"]
    return seq
