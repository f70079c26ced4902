"""The trainer needs neither Airflow nor the rest of Retune, and gives the same bytes each time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from retune.training.job import JobFolder, TrainingJob
from tests.tuning import HYPERPARAMETERS, make_base, make_rows, write_rows

# What a trainer's interpreter does not have. pydantic, yaml, pandas and fsspec come with the torch stack.
GUARD = """
import runpy, sys
from importlib.machinery import PathFinder

MISSING = {"airflow", "sqlalchemy", "alembic", "mlflow", "great_expectations", "evidently", "openai", "typer",
           "statsmodels", "plotly", "sklearn"}

class Poor(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        parts = name.split(".")
        others = parts[0] == "retune" and len(parts) > 1 and parts[1] not in ("errors", "training")
        return None if others or parts[0] in MISSING else PathFinder.find_spec(name, path, target)

sys.meta_path = [Poor if finder is PathFinder else finder for finder in sys.meta_path]
runpy.run_module("retune.training", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


def train(folder: Path, base: Path) -> JobFolder:
    job = JobFolder(folder)
    for side, rows in (("train", make_rows(16)), ("validation", make_rows(4, 1000))):
        (folder / f"{side}.jsonl").write_bytes(write_rows(rows))
    paths = {side: str(folder / f"{side}.jsonl") for side in ("train", "validation")}
    job.write_job(
        TrainingJob(**paths, base_model=str(base), base_name="tiny", hyperparameters=HYPERPARAMETERS, seed=7)
    )
    subprocess.run([sys.executable, "-c", GUARD, str(folder)], check=True, capture_output=True, timeout=240)
    return job


def test_the_same_job_trains_to_the_same_bytes_without_the_rest_of_retune(
    base: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    jobs = [train(tmp_path_factory.mktemp("job"), base) for _ in range(2)]
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in job.model.iterdir()}
        for job in jobs
    ]
    assert digests[0] == digests[1]
    assert sorted(digests[0]) == ["adapter_config.json", "adapter_model.safetensors", "parity.json"]
    done = jobs[0].read_done()
    assert done is not None and done.status == "succeeded"
    assert done.metrics["best_eval_loss"] == min(
        entry["eval_loss"] for entry in jobs[0].read_progress() if "eval_loss" in entry
    )
    assert not jobs[0].checkpoints.exists()
