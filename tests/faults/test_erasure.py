"""`kill -9` of an erasure and of a cleanup, at every step: run again, each ends as if nothing had been."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Engine

from retune.artifacts import GRACE
from retune.erasure.command import forget
from retune.erasure.plan import plan
from retune.evaluation.evaluate import read_outcomes
from retune.records import Release
from retune.state import ledger, releases, retrains, subjects
from retune.state.subjects import subject_hash
from retune.upkeep.command import cleanup
from retune.upkeep.sweep import Upkeep
from tests.unit.erasure.builders import ANN, Installed, everywhere, install, lived, rows, spec

SUBJECT = subject_hash(ANN)

Command = Callable[[Installed, Console], None]


def run(here: Installed, command: Command, left: int) -> int | None:
    """Run a command in a process that is killed before its step `left`; return its steps if it ended.

    A step is a commit, or a file or folder that is opened for writing, made, moved or removed.
    """
    fork = multiprocessing.get_context("fork")
    steps = fork.Value("i", 0)

    def count(*_: object) -> None:
        if steps.value == left:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.value += 1

    def see(name: str, args: tuple[Any, ...]) -> None:
        if name in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            count()
        elif name == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            count()

    def work() -> None:
        event.listen(Engine, "commit", count)
        sys.addaudithook(see)
        command(here, Console(file=StringIO()))
        os._exit(0)

    here.db.engine.dispose()  # a process may not inherit a connection
    process = fork.Process(target=work)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return steps.value if process.exitcode == 0 else None


def copied(here: Installed, name: str) -> Installed:
    """Return a fresh copy of an installation, with the times of its files."""
    here.db.engine.dispose()
    target = here.settings.project.parent / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(here.settings.project, target)
    found = install(target)
    found.spec = here.spec
    return found


def killed_everywhere(here: Installed, check: Callable[[Installed], None], command: Command) -> None:
    """Kill a command before each of its steps, let another one end, and check what is there then."""
    steps = run(copied(here, "whole"), command, -1)
    assert steps is not None and steps > 20, "it did nothing"
    killed = 0
    for at in range(steps):
        victim = copied(here, "victim")
        killed += run(victim, command, at) is None
        if at % 4 == 0:  # another kill on the way is no worse
            run(victim, command, at // 2)
        assert run(victim, command, -1) is not None
        check(victim)
        victim.db.engine.dispose()
    assert killed > steps - 5, "how often SQLite commits differs a little"


def test_a_killed_erasure_ends_when_it_is_run_again(tmp_path: Path) -> None:
    here = install(tmp_path / "project")
    lived(here)
    assert everywhere(here.settings.home)

    def check(victim: Installed) -> None:
        # Working files of the killed one hold other people's rows only.
        assert everywhere(victim.settings.home) == []
        found = plan(
            SUBJECT,
            settings=victim.settings,
            db=victim.db,
            artifacts=victim.artifacts,
            now=datetime.now(UTC),
        )
        assert found.is_clean
        with victim.db.read() as tx:
            assert SUBJECT in subjects.forgotten(tx)
            [release] = releases.list_all(tx, "tickets")
            assert retrains.is_tainted(tx, release.dataset_digest, "tickets")
            assert retrains.wanted(tx, "tickets") is not None
            [entry] = [entry for entry in ledger.entries(tx) if entry.event == "erasure"]
            assert ledger.verify(tx) == len(ledger.entries(tx))
        assert entry.detail["rows"] == 3 and entry.detail["retrains"] == ["tickets"]
        works(victim, release)

    killed_everywhere(here, check, lambda one, out: forget(ANN, True, "cli:me", one.settings, out))


def test_a_killed_cleanup_goes_on_when_it_is_run_again(tmp_path: Path) -> None:
    here = install(tmp_path / "project")
    here.spec = spec(retention={"reports": "2d", "captured": "2d", "models": {"keep": 1}})
    past = datetime.now(UTC) - timedelta(days=30)
    first = here.release(here.dataset(rows(), past), "first", past)
    second = here.release(here.dataset(rows((), salt="new "), past + timedelta(hours=1)), "second", past)
    here.deploy(second, past)
    here.capture(["words"], past)
    left = here.settings.home / "prepare-killed" / "0.jsonl"
    left.parent.mkdir()
    left.write_text("words")
    for path in here.settings.home.rglob("*"):
        if path.is_file() and not path.name.startswith("state.db"):
            os.utime(path, (past.timestamp(), past.timestamp()))

    def check(victim: Installed) -> None:
        upkeep = Upkeep(victim.settings, victim.db, victim.artifacts, datetime.now(UTC) + 2 * GRACE)
        assert upkeep.plan().size == 0
        assert not victim.artifacts.exists(first.model.digest)
        assert not (victim.settings.home / "prepare-killed" / "0.jsonl").exists()
        assert list(victim.settings.jobs.iterdir()) == []
        works(victim, second)

    killed_everywhere(here, check, lambda one, out: cleanup(True, one.settings, out))


def works(here: Installed, release: Release) -> None:
    """All that a release serves and is watched by is there, whole."""
    assert len(read_outcomes(release.report, here.artifacts)) == 6
    folder = here.settings.project / "model"
    assert here.artifacts.get_tree(release.model.digest, folder).is_dir()
    with here.db.read() as tx:
        assert releases.live(tx, "tickets") == release
