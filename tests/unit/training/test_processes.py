"""The first process ends where another has ended badly, and says how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from retune.training.job import JobFolder
from retune.training.processes import LOST

PROGRAM = """
import subprocess, sys, time
from pathlib import Path
from retune.training import processes
from retune.training.job import JobFolder

children = {rank: subprocess.Popen(["sh", "-c", ending]) for rank, ending in enumerate(sys.argv[2:], start=1)}
processes._watch(JobFolder(Path(sys.argv[1])), children)
"""


def watch(folder: Path, *endings: str) -> int:
    return subprocess.run([sys.executable, "-c", PROGRAM, str(folder), *endings]).returncode


def test_a_failure_that_another_process_tells_is_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "error-2.txt").write_text("the disk is full -> free space")
    # The first of them was only cut off by the failure of the second.
    assert watch(tmp_path, f"exit {LOST}", "exit 1") == 1
    done = JobFolder(tmp_path).read_done()
    assert done is not None and (done.status, done.error) == ("failed", "the disk is full -> free space")


@pytest.mark.parametrize("ending", ["kill -9 $$", "exit 1"], ids=["killed", "ended without a word"])
def test_a_process_that_vanishes_is_a_crash_and_no_verdict(tmp_path: Path, ending: str) -> None:
    assert watch(tmp_path, ending, "exit 0") == LOST
    assert JobFolder(tmp_path).read_done() is None


def test_processes_that_end_well_end_nothing(tmp_path: Path) -> None:
    assert watch(tmp_path, "exit 0", "exit 0") == 0
