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


def write_model(folder: Path, step: int, files: int) -> Path:
    """A checkpoint of whole weights, in one file or in several."""
    checkpoint = write(folder, step)
    (checkpoint / "adapter_model.safetensors").unlink()
    names = (
        ["model.safetensors"] if files == 1 else [f"model-{number}.safetensors" for number in range(files)]
    )
    for name in names:
        save_file({name: np.ones((4, 4), np.float32)}, checkpoint / name)
    if files > 1:
        index = {"weight_map": {name: name for name in names}}
        (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
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


MODEL_DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file is missing": lambda folder: max(folder.glob("model*.safetensors")).unlink(),
    "a file is cut": lambda folder: cut(max(folder.glob("model*.safetensors"))),
}


@pytest.mark.parametrize("files", [1, 3])
def test_a_checkpoint_of_whole_weights_is_whole(tmp_path: Path, files: int) -> None:
    assert checkpoints.is_whole(write_model(tmp_path, 20, files))


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("damage", MODEL_DAMAGE.values(), ids=MODEL_DAMAGE)
def test_whole_weights_of_which_a_part_is_gone_are_not_whole(
    tmp_path: Path, files: int, damage: Callable[[Path], object]
) -> None:
    checkpoint = write_model(tmp_path, 20, files)
    damage(checkpoint)
    assert not checkpoints.is_whole(checkpoint)


def test_a_cut_index_is_no_whole_checkpoint(tmp_path: Path) -> None:
    checkpoint = write_model(tmp_path, 20, 3)
    cut(checkpoint / "model.safetensors.index.json")
    assert not checkpoints.is_whole(checkpoint)


def test_each_process_leaves_its_random_state(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, 20)
    (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
    (checkpoint / "rng_state_1.pth").write_bytes((checkpoint / "rng_state_0.pth").read_bytes())
    assert checkpoints.is_whole(checkpoint)
    cut(checkpoint / "rng_state_1.pth")
    assert not checkpoints.is_whole(checkpoint)
