"""The keeper with real processes: what was up once is kept, whatever happens to the disk."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from retune.serving.keeper import Keeper, Part
from retune.serving.processes import Book
from tests.unit.serving.builders import until

WORK = [sys.executable, "-c", "import signal; signal.pause()", "kept"]


class Kept:
    """A keeper in a thread of its own.

    Args:
        folder: Where its book and its log lie.
    """

    def __init__(self, folder: Path) -> None:
        self.book = folder / "book.json"
        self.places = folder / "places.json"
        self.lines: list[str] = []
        self.stop = threading.Event()
        part = Part("part", lambda: WORK, lambda age: None, probe_every_s=0.05)
        self.keeper = Keeper(
            part, folder / "log", Book(self.book), self.stop, self.lines.append, self._write_places
        )
        self.thread = threading.Thread(target=self.keeper.run, daemon=True)

    def _write_places(self) -> None:
        self.places.write_text("here")

    def running(self) -> list[int]:
        """The processes that the keeper has started and that live."""
        found = []
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # the keeper's thread has just taken its end
                if "kept" in child.cmdline():  # empty once it is a zombie
                    found.append(child.pid)
        return found

    def kill(self) -> None:
        """End the process as if it crashed."""
        psutil.Process(self.keeper.pid).kill()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.stop.set()
    made.thread.join(20)
    assert made.running() == []


def test_a_part_that_was_up_comes_back_once_the_disk_takes_its_record(kept: Kept) -> None:
    kept.thread.start()
    until(lambda: kept.keeper.pid is not None, "it is up")
    kept.book.unlink()
    kept.book.mkdir()  # the record cannot be written
    kept.kill()
    until(lambda: any("could not be kept running" in line for line in kept.lines), "the reason is said")
    until(lambda: kept.running() == [], "what could not be recorded is ended")
    assert kept.keeper.error is None and not kept.stop.is_set()
    kept.book.rmdir()
    until(lambda: kept.keeper.pid is not None, "it is up again")
    assert kept.running() == [kept.keeper.pid]


def test_a_part_that_never_was_up_is_given_up_with_all(kept: Kept) -> None:
    kept.book.mkdir()
    kept.thread.start()
    kept.thread.join(20)
    assert kept.stop.is_set() and "Is a directory" in str(kept.keeper.error)


def test_what_works_is_not_ended_because_that_cannot_be_written_down(kept: Kept) -> None:
    kept.places.mkdir()
    kept.thread.start()
    until(lambda: bool(kept.lines), "the reason is said")
    process = kept.keeper.pid
    kept.places.rmdir()
    until(kept.places.is_file, "it is written down")
    assert kept.keeper.pid == process
    assert len(kept.lines) == 1 and "cannot be written down yet" in kept.lines[0]
