"""Which side of the split each row is on, for ever."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection, insert, select

from retune.errors import StateError
from retune.state.database import stamp
from retune.state.tables import splits

_AT_ONCE = 10_000


def assigned(tx: Connection, pipeline: str) -> dict[str, str]:
    """Return row id -> `train`, `validation` or `held_out` for all rows ever assigned."""
    rows = tx.execute(select(splits.c.row_id, splits.c.side).where(splits.c.pipeline == pipeline))
    return {row_id: side for row_id, side in rows}


def assign(tx: Connection, pipeline: str, sides: Mapping[str, str], now: datetime) -> None:
    """Assign rows to sides.

    Raises:
        StateError: A row would move from one side to another; nothing is stored.
    """
    known = assigned(tx, pipeline)
    moved = [row_id for row_id, side in sides.items() if known.get(row_id, side) != side]
    if moved:
        raise StateError(
            f"{len(moved)} rows would change sides, the first is {moved[0]}",
            "a row stays where it was first put; keep the earlier assignment",
        )
    new = (
        {"pipeline": pipeline, "row_id": row_id, "side": side, "at": stamp(now)}
        for row_id, side in sides.items()
        if row_id not in known
    )
    while rows := list(islice(new, _AT_ONCE)):
        tx.execute(insert(splits), rows)
