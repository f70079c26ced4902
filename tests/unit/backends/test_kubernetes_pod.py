"""What the pod says and what is heard of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.backends import kubernetes_pod
from retune.backends.base import Order
from retune.backends.kubernetes_manifest import write_order
from retune.backends.kubernetes_pod import Progress, heard, main
from retune.training.job import Done, JobFolder
from tests.tuning import BASE, Bench, make_bench

ENTRY = {"step": 1, "total_steps": 4, "seconds": 0.5, "loss": 2.0}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    base = tmp_path / BASE
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    return make_bench(tmp_path)


@pytest.fixture
def order(bench: Bench) -> Order:
    order = Order("k" * 64, 1, bench.recipe(), bench.dataset())
    bench.artifacts.put_tree(bench.settings.resolve(BASE))
    return order


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]))))
def test_whatever_the_trainer_prints_is_not_heard(lines: list[str]) -> None:
    printed = "".join(f"| {line}\n" for text in lines for line in text.splitlines())
    assert list(heard(printed)) == []


def test_a_torn_line_is_skipped() -> None:
    log = '{"retune": "progress", "ent\n{"retune": "done", "done": {}}\n{"retune": "do'
    assert list(heard(log)) == [{"retune": "done", "done": {}}]


def test_progress_is_told_once_and_by_whole_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = JobFolder(tmp_path)
    progress = Progress(folder)
    progress.tell()
    folder.append_progress(ENTRY)
    with folder.progress_file.open("a") as file:
        file.write('{"step": 2')
    progress.tell()
    progress.tell()
    with folder.progress_file.open("a") as file:
        file.write(', "torn\n')
    folder.append_progress(ENTRY | {"step": 3})
    progress.tell()
    assert [told["entry"]["step"] for told in heard(capsys.readouterr().out)] == [1, 3]


def arguments(bench: Bench, order: Order, root: Path) -> list[str]:
    return ["--artifacts", bench.artifacts.url, "--folder", str(root), "--order", write_order(order)]


def test_an_ended_job_is_told_once_more(
    bench: Bench, order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = JobFolder(tmp_path / "jobs" / order.key)
    (folder.path / "data").mkdir(parents=True)
    folder.model.mkdir()
    (folder.model / "adapter_config.json").write_text("{}")
    folder.append_progress(ENTRY)
    folder.finish(Done("succeeded", seconds=3.0))
    for _ in range(2):
        assert main(arguments(bench, order, tmp_path / "jobs")) == 0
        progress, done = heard(capsys.readouterr().out)
        assert progress["entry"]["loss"] == 2.0
        assert (done["done"]["seconds"], done["model"]["kind"]) == (3.0, "adapter")
        assert bench.artifacts.exists(done["model"]["digest"])
    assert not (folder.path / "data").exists()


def as_trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """Let a script stand where `python -m retune.training DIR` does; $3 is the directory."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def test_the_directory_is_made_whole_from_the_store(
    bench: Bench, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_trainer(monkeypatch, tmp_path, 'echo \'{"status": "failed", "error": "no"}\' > $3/done.json; exit 1')
    root = tmp_path / "jobs"
    made: list[dict[str, object]] = []
    monkeypatch.setattr(
        kubernetes_pod,
        "say",
        lambda topic, **what: made.append(json.loads((root / order.key / "job.json").read_text())),
    )
    assert main(arguments(bench, order, root)) == 0  # the training failed, the job has ended
    job = made[-1]
    assert job["train"] == str(root / order.key / "data" / "train.jsonl")
    assert job["base_model"] == str(root / "bases" / order.recipe.base_digest.removeprefix("sha256:"))
    assert (job["base_name"], job["base_revision"]) == (BASE, None)
    assert sorted(os.listdir(root)) == ["bases", order.key]


def test_a_trainer_that_dies_fails_the_pod(
    bench: Bench,
    order: Order,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_trainer(monkeypatch, tmp_path, "echo its last word; kill -9 $$")
    assert main(arguments(bench, order, tmp_path / "jobs")) == 128 + 9
    assert capsys.readouterr().out == "| its last word\n"


def test_rows_that_are_gone_fail_the_pod_with_a_sentence(
    bench: Bench, order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, path = bench.artifacts.place(order.dataset.train.artifact.digest)
    files.rm(path)
    assert main(arguments(bench, order, tmp_path / "jobs")) == 1
    assert f"| artifact {order.dataset.train.artifact.digest} is not in" in capsys.readouterr().out
    assert os.listdir(tmp_path / "jobs") == ["bases"]
