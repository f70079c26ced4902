"""Whom rows are about, by a hash: which datasets a person's rows reached, and who is forgotten."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, insert, select

from retune.errors import StateError
from retune.state.database import stamp
from retune.state.tables import forgotten as forgotten_subjects
from retune.state.tables import subjects


def subject_hash(text: str) -> str:
    """Return how a person's ID is kept: 64 hex digits, never the ID itself."""
    return hashlib.sha256(f"subject:{text}".encode()).hexdigest()


def add_reached(tx: Connection, pipeline: str, dataset_digest: str, rows: Iterable[tuple[str, str]]) -> None:
    """Note whom a dataset's rows are about; noting it again changes nothing.

    Call it in the transaction that registers the dataset.

    Args:
        tx: The transaction.
        pipeline: Whose dataset it is.
        dataset_digest: The dataset.
        rows: (subject, row id) of each row that has a subject; the row's id as its canonical line has it.

    Raises:
        StateError: A subject was forgotten after the rows were read; nothing is stored.
    """
    wanted = {(subject, row_id) for subject, row_id in rows if subject}
    gone = forgotten(tx) & {subject for subject, _ in wanted}
    if gone:
        raise StateError(
            f"{len(gone)} subjects of dataset {dataset_digest} were forgotten while it was prepared",
            "run the task again: their rows are left out then",
        )
    here = (subjects.c.pipeline == pipeline) & (subjects.c.dataset_digest == dataset_digest)
    known = {(row.subject, row.row_id) for row in tx.execute(select(subjects).where(here))}
    new = [
        {"pipeline": pipeline, "dataset_digest": dataset_digest, "subject": subject, "row_id": row_id}
        for subject, row_id in sorted(wanted - known)
    ]
    if new:
        tx.execute(insert(subjects), new)


def copy_reached(
    tx: Connection, pipeline: str, from_digest: str, to_digest: str, row_ids: Iterable[str]
) -> None:
    """Note whom the rows of a part of a dataset are about; noting it again changes nothing.

    Args:
        tx: The transaction.
        pipeline: Whose datasets they are.
        from_digest: The dataset of which whom its rows are about is known.
        to_digest: The part.
        row_ids: The rows that the part holds.

    Raises:
        StateError: As `add_reached`.
    """
    here = (subjects.c.pipeline == pipeline) & (subjects.c.dataset_digest == from_digest)
    held = set(row_ids)
    known = tx.execute(select(subjects.c.subject, subjects.c.row_id).where(here)).all()
    add_reached(tx, pipeline, to_digest, [(row.subject, row.row_id) for row in known if row.row_id in held])


def reached(tx: Connection, subject: str) -> dict[tuple[str, str], set[str]]:
    """Return (pipeline, dataset digest) -> ids of the rows there that are about a subject."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in tx.execute(select(subjects).where(subjects.c.subject == subject)):
        found[row.pipeline, row.dataset_digest].add(row.row_id)
    return dict(found)


def forget(tx: Connection, subject: str, actor: str, now: datetime) -> None:
    """Note that no row about a subject may be used any more; noting it twice keeps the first time."""
    if subject not in forgotten(tx):
        tx.execute(insert(forgotten_subjects).values(subject=subject, actor=actor, at=stamp(now)))


def forgotten(tx: Connection) -> set[str]:
    """Return the hashes of all subjects that are forgotten."""
    return set(tx.execute(select(forgotten_subjects.c.subject)).scalars())
