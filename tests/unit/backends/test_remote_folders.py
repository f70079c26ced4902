"""A job directory that is written here names what lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.backends.remote_folders import move_job
from retune.training.job import JobFolder, TrainingJob


def moved(path: Path, base: str = "", warm_start: str | None = None) -> TrainingJob:
    folder = JobFolder(path)
    folder.write_job(
        TrainingJob(
            train=str(path / "data" / "train.jsonl"),
            validation=str(path / "data" / "validation.jsonl"),
            base_model="org/model",
            base_name="org/model",
            base_revision="abc",
            hyperparameters={},
            seed=1,
            warm_start=warm_start,
        )
    )
    move_job(folder, "/there/key", base)
    return folder.read_job()


def test_its_own_files_move_along(tmp_path: Path) -> None:
    job = moved(tmp_path, warm_start=str(tmp_path / "start"))
    assert job.train == "/there/key/data/train.jsonl"
    assert job.validation == "/there/key/data/validation.jsonl"
    assert job.warm_start == "/there/key/start"


def test_a_hub_model_stays_what_it_is(tmp_path: Path) -> None:
    job = moved(tmp_path)
    assert (job.base_model, job.base_revision, job.warm_start) == ("org/model", "abc", None)


def test_a_base_folder_is_the_one_there_under_its_own_name(tmp_path: Path) -> None:
    job = moved(tmp_path, base="/there/bases/1")
    assert (job.base_model, job.base_name, job.base_revision) == ("/there/bases/1", "org/model", None)


def test_a_directory_that_holds_another_ones_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not in the subpath"):
        moved(tmp_path, warm_start="/elsewhere/start")
