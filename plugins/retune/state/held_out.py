"""What was ever held out, and how often each held-out set was used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update

from retune.state.database import stamp
from retune.state.tables import held_out, held_out_uses


def known(tx: Connection, pipeline: str) -> dict[str, bytes | None]:
    """Return fingerprint -> signature of all that was ever held out; None where no signature is known."""
    query = select(held_out.c.fingerprint, held_out.c.signature).where(held_out.c.pipeline == pipeline)
    return {fingerprint: signature for fingerprint, signature in tx.execute(query)}


def register(tx: Connection, pipeline: str, rows: Mapping[str, bytes], now: datetime) -> None:
    """Add rows to the registry; nothing is ever taken out of it.

    Args:
        tx: A transaction that writes.
        pipeline: Whose rows.
        rows: Fingerprint -> signature.
        now: When they were held out.
    """
    seen = known(tx, pipeline)
    new = [
        {"pipeline": pipeline, "fingerprint": name, "signature": signature, "at": stamp(now)}
        for name, signature in rows.items()
        if name not in seen
    ]
    unsigned = [
        {"of": name, "is": signature}
        for name, signature in rows.items()
        if name in seen and seen[name] is None
    ]
    if new:
        tx.execute(insert(held_out), new)
    if unsigned:
        one = (held_out.c.pipeline == pipeline) & (held_out.c.fingerprint == bindparam("of"))
        tx.execute(update(held_out).where(one).values(signature=bindparam("is")), unsigned)


def use(tx: Connection, pipeline: str, set_digest: str, used_by: str, purpose: str, now: datetime) -> None:
    """Note that a held-out set was used; the same use noted twice is one.

    Args:
        tx: A transaction that writes.
        pipeline: Whose set.
        set_digest: Digest of its file.
        used_by: Who used it, such as a DAG run.
        purpose: What for, such as the contender that answered it.
        now: When.
    """
    values = {"pipeline": pipeline, "set_digest": set_digest, "used_by": used_by, "purpose": purpose}
    same = select(held_out_uses.c.at).filter_by(**values)
    if tx.execute(same).first() is None:
        tx.execute(insert(held_out_uses).values(**values, at=stamp(now)))


def uses(tx: Connection, pipeline: str, set_digest: str) -> int:
    """Return how many runs have used a held-out set: each has learned something of it."""
    query = select(func.count(held_out_uses.c.used_by.distinct())).where(
        held_out_uses.c.pipeline == pipeline, held_out_uses.c.set_digest == set_digest
    )
    return int(tx.execute(query).scalar_one())
