"""Whole checkpoints are told from broken ones."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from retune.training import checkpoints


def write(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"lora_A": np.ones((4, 4), np.float32)}, checkpoint / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(checkpoint / name, "w") as archive:
            archive.writestr("data.pkl", b"1234" * 100)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return checkpoint


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda folder: [path.unlink() for path in folder.iterdir()],
    "no state": lambda folder: (folder / "trainer_state.json").unlink(),
    "cut state": lambda folder: cut(folder / "trainer_state.json"),
    "another step's state": lambda folder: (folder / "trainer_state.json").write_text('{"global_step": 5}'),
    "no weights": lambda folder: (folder / "adapter_model.safetensors").unlink(),
    "cut weights": lambda folder: cut(folder / "adapter_model.safetensors"),
    "empty weights": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""),
    "cut optimizer": lambda folder: cut(folder / "optimizer.pt"),
    "no scheduler": lambda folder: (folder / "scheduler.pt").unlink(),
    "empty random state": lambda folder: (folder / "rng_state.pth").write_bytes(b""),
}


def test_the_highest_step_counts_as_a_number(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        write(tmp_path, step)
    last = checkpoints.last_whole(tmp_path)
    assert last is not None and last.name == "checkpoint-100"


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoints.last_whole(tmp_path / "missing") is None


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_broken_checkpoint_is_passed_over_and_deleted(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    write(tmp_path, 20)
    damage(write(tmp_path, 999))
    last = checkpoints.last_whole(tmp_path)
    assert last is not None and last.name == "checkpoint-20"
    assert checkpoints.delete_broken(tmp_path) == ["checkpoint-999"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-20"]
