"""Whom the rows of a part are about is what is known of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retune.errors import StateError
from retune.state import subjects
from retune.state.database import Database

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
ANNA, BEN = subjects.subject_hash("anna"), subjects.subject_hash("ben")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    with database.write() as tx:
        subjects.add_reached(tx, "tickets", "whole", [(ANNA, "1"), (ANNA, "2"), (BEN, "3")])
        subjects.add_reached(tx, "others", "whole", [(BEN, "1")])
    yield database
    database.engine.dispose()


def test_a_part_is_about_whom_its_rows_are_about(db: Database) -> None:
    for _ in range(2):  # again changes nothing
        with db.write() as tx:
            subjects.copy_reached(tx, "tickets", "whole", "part", iter(["2", "4"]))
    with db.read() as tx:
        assert subjects.reached(tx, ANNA) == {("tickets", "whole"): {"1", "2"}, ("tickets", "part"): {"2"}}
        assert ("tickets", "part") not in subjects.reached(tx, BEN)


def test_a_part_with_rows_of_a_person_who_is_forgotten_is_refused(db: Database) -> None:
    with db.write() as tx:
        subjects.forget(tx, BEN, "a person", NOW)
        subjects.copy_reached(tx, "tickets", "whole", "without", ["1", "2"])
    with pytest.raises(StateError, match="run the task again"), db.write() as tx:
        subjects.copy_reached(tx, "tickets", "whole", "with", ["3"])
    with db.read() as tx:
        assert subjects.reached(tx, BEN).keys() == {("tickets", "whole"), ("others", "whole")}
