"""The job directory: what is written is read back, and a crash never makes it lie."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import BackendError
from retune.training.job import Done, JobFolder, TrainingJob, read_json

JOB = TrainingJob(
    train="/a/train.jsonl",
    validation="/a/validation.jsonl",
    base_model="/a/base",
    base_name="base",
    hyperparameters={"epochs": 1},
    seed=7,
)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def test_a_job_and_its_end_are_read_back(folder: JobFolder) -> None:
    folder.write_job(JOB)
    assert folder.read_done() is None
    done = Done("failed", error="the disk is full", metrics={"loss": 1.0}, seconds=3.5)
    folder.finish(done)
    assert folder.read_job() == JOB
    assert folder.read_done() == done
    assert sorted(path.name for path in folder.path.iterdir()) == ["done.json", "job.json"]


def test_a_folder_without_a_job_says_so(folder: JobFolder) -> None:
    with pytest.raises(BackendError, match=r"job\.json is missing -> submit the job again"):
        folder.read_job()


def test_a_job_of_an_older_version_is_read_with_the_defaults(folder: JobFolder) -> None:
    later = {"method", "warm_start", "processes"}
    old = {name: value for name, value in asdict(JOB).items() if name not in later}
    folder.job_file.write_text(json.dumps(old))
    assert folder.read_job() == JOB
    folder.done_file.write_text(
        json.dumps({"status": "succeeded", "error": "", "metrics": {}, "seconds": 1.0})
    )
    assert folder.read_done() == Done("succeeded", seconds=1.0, kind="adapter")


def test_a_job_of_another_version_says_what_it_does_not_know(folder: JobFolder) -> None:
    folder.job_file.write_text(json.dumps({**asdict(JOB), "quantum": True}))
    with pytest.raises(BackendError, match="quantum"):
        folder.read_job()


@pytest.mark.parametrize("damage", [b"{", b"[]", b"\xff"])
def test_a_damaged_file_is_an_error_and_never_no_file(folder: JobFolder, damage: bytes) -> None:
    folder.done_file.write_bytes(damage)
    with pytest.raises(BackendError, match=r"done\.json"):
        folder.read_done()


def test_resumed_steps_replace_those_before_the_crash(folder: JobFolder) -> None:
    for loss in (3.0, 1.0):
        folder.append_progress({"step": 1, "loss": loss})
        folder.append_progress({"step": 1, "eval_loss": loss})
    folder.append_progress({"step": 2, "loss": 0.5})
    found = [(line["step"], line.get("loss"), line.get("eval_loss")) for line in folder.read_progress()]
    assert found == [(1, 1.0, None), (1, None, 1.0), (2, 0.5, None)]


@given(cut=st.integers(min_value=0, max_value=400))
def test_progress_cut_anywhere_is_read_up_to_the_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = JobFolder(tmp_path_factory.mktemp("job"))
    for step in range(1, 5):
        folder.append_progress({"step": step, "loss": float(step)})
    data = folder.progress_file.read_bytes()[:cut]
    folder.progress_file.write_bytes(data)
    steps = [line["step"] for line in folder.read_progress()]
    whole = data.count(b"\n")
    assert steps[:whole] == list(range(1, whole + 1))
    assert len(steps) <= whole + 1


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "missing.json") is None
