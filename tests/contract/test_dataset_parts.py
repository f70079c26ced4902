"""Parts of a dataset that the data stage prepared: cut from it, they are named as it would name them."""

from __future__ import annotations

from pathlib import Path

from retune.advice.curve_plan import cut
from tests.tuning import make_bench
from tests.unit.data.conftest import Project


def test_a_part_of_all_rows_is_the_very_dataset_that_was_prepared(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    project = Project(bench.settings, bench.db, bench.artifacts)
    project.suite()
    queues = ("billing", "shipping", "returns", "account")
    project.rows([{"text": f"ticket {n}", "queue": queues[n % 4]} for n in range(60)])
    whole = project.prepare()
    half, full = (part.dataset for part in cut(whole, (20, whole.train.rows), project.artifacts))
    assert (full.digest, full.train.artifact) == (whole.digest, whole.train.artifact)
    assert half.digest != whole.digest
    assert len(project.read(half.train)) == 20
