"""What `retune cleanup` prints."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from retune.errors import StateError
from retune.settings import Settings
from retune.upkeep.command import cleanup
from tests.unit.erasure.builders import Installed, install


def said(here: Installed, confirmed: bool) -> str:
    """Run the command and return all it printed, with one space for every run of white space."""
    out = StringIO()
    cleanup(confirmed, here.settings, Console(file=out, width=200))
    return " ".join(out.getvalue().split())


def test_it_shows_first_and_removes_only_when_told(tmp_path: Path) -> None:
    here = install(tmp_path)
    assert said(here, confirmed=True) == "Nothing may go. artifacts: 0 bytes removed 0 bytes are free again"
    lost = here.artifacts.put_bytes(b"nobody points here", "x/y")
    os.utime(here.artifacts.place(lost.digest)[1], (0, 0))
    left = here.settings.home / "prepare-x"
    left.mkdir()
    (left / "0.jsonl").write_text("words")
    os.utime(left / "0.jsonl", (0, 0))
    shown = said(here, confirmed=False)
    for row in (
        "artifacts │ 1 │ 18 │ nothing points at it",
        "working files │ 1 │ 5 │ left by a process that was killed",
    ):
        assert row in shown
    assert shown.endswith("Nothing was changed. Say it again with --yes to do it.")
    assert here.artifacts.exists(lost.digest) and left.exists()
    done = said(here, confirmed=True)
    assert "artifacts: 18 bytes removed" in done and f"{left}: left by a process" in done
    assert done.endswith("23 bytes are free again")
    assert not here.artifacts.exists(lost.digest) and not left.exists()
    assert said(here, confirmed=False) == "Nothing may go."


def test_an_installation_that_is_not_there_is_said(tmp_path: Path) -> None:
    settings = Settings.load({"project": str(tmp_path)}.get)
    with pytest.raises(StateError, match="run `retune migrate`"):
        cleanup(False, settings, Console(file=StringIO()))
