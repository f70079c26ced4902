"""A job directory that is written here names what lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.backends.remote_folders import cost, estimate, move_job
from retune.settings import Settings
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


def settings_with(tmp_path: Path, hours: str) -> Settings:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "prices.yaml").write_text(
        f"version: 1\nbackends:\n  kubernetes:\n    hours:\n      gpu:\n        usd_per_hour: {hours}\n"
        "        as_of: 2026-11-01\n        source: the bill\n"
    )
    return Settings.load({"project": str(tmp_path)}.get)


def test_ones_own_box_costs_nothing(tmp_path: Path) -> None:
    settings = Settings.load({"project": str(tmp_path)}.get)
    assert estimate(settings, "ssh", {}).usd == 0.0
    assert cost(settings, "ssh", {}, 3600) == 0.0


def test_a_cluster_without_a_price_is_not_taken_for_free(tmp_path: Path) -> None:
    settings = Settings.load({"project": str(tmp_path)}.get)
    found = estimate(settings, "kubernetes", {})
    assert found.usd is None and "put it into include/prices.yaml" in found.basis
    assert cost(settings, "kubernetes", {}, 3600) is None


def test_hours_are_paid_for_each_gpu(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "2.5")
    found = estimate(settings, "kubernetes", {"queue": "gpu"})
    assert found.usd is None and "2.5 USD an hour" in found.basis and "the bill" in found.basis
    assert cost(settings, "kubernetes", {"queue": "gpu", "gpus": "4"}, 1800) == 5.0
    assert cost(settings, "kubernetes", {"queue": "gpu"}, 1800) == 1.25
