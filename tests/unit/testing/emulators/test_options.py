"""Options that may change while an emulator runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.errors import SetupError
from retune.testing.emulators import options
from retune.testing.emulators.options import Options, OptionsFile


def test_options_are_read_again_when_they_change(tmp_path: Path) -> None:
    now = OptionsFile(tmp_path)
    assert now.now() == Options()
    options.write(tmp_path, {"phase_s": 3})
    assert now.now().phase_s == 3
    options.write(tmp_path, {"list_lag_s": 2})
    assert (now.now().phase_s, now.now().list_lag_s) == (3, 2)


def test_a_phase_that_is_not_named_takes_the_usual_time() -> None:
    assert Options(phase_s={"running": 9}).seconds("running") == 9
    assert Options(phase_s={"running": 9}).seconds("queued") == 0.2
    assert Options(phase_s=5).seconds("queued") == 5


def test_unknown_options_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="speed"):
        options.write(tmp_path, {"speed": 1})
    assert not (tmp_path / options.FILE).exists()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / options.FILE).write_text("{")
    with pytest.raises(SetupError, match=r"options\.json is no JSON"):
        OptionsFile(tmp_path).now()


def test_a_key_is_kept_as_its_digest_only(tmp_path: Path) -> None:
    options.write(tmp_path, {"api_key": "sk-canary", "phase_s": 1})
    assert "sk-canary" not in (tmp_path / options.FILE).read_text()
    assert len(OptionsFile(tmp_path).now().api_key_digest) == 64
