"""How a command that starts an installation ends: with all that it started."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from retune.backends.local_jobs import stop_trainers
from retune.demo.processes import Processes
from retune.serving.processes import Book


def end_on_sigterm() -> None:
    """Let a termination end this command as Ctrl-C does: by an exception, through its handlers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def end_all(home: Path) -> int:
    """End all that was started below an installation's home, also by an earlier command.

    Returns:
        How many processes ended.
    """
    ended = Processes(home / "processes").stop()
    # What hangs on nothing: a trainer whose worker died, and what a killed `retune serve` left.
    orphans = [*stop_trainers(home / "jobs"), *Book(home / "serve.pids.json").end_leftovers()]
    return ended + len(orphans)
