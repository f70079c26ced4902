"""`kill -9` of the trainer: the training goes on from the last whole checkpoint, to the same end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retune.backends.attempts import job_key
from retune.backends.base import Order
from retune.backends.jobs import run_job
from retune.backends.local_jobs import LocalBackend, stop_trainers
from retune.records import JobStatus, Model
from retune.training.job import JobFolder, Lease
from tests.tuning import BASE, Bench, make_base, make_bench

WITHIN_S = 120


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture
def bench(tmp_path: Path, base: Path) -> Iterator[Bench]:
    (tmp_path / BASE).parent.mkdir(parents=True)
    os.symlink(base, tmp_path / BASE)
    bench = make_bench(tmp_path)
    yield bench
    stop_trainers(bench.settings.jobs)


def order(bench: Bench) -> Order:
    recipe, dataset = bench.recipe(epochs=10, patience=10), bench.dataset(train=40, validation=8)
    return Order(job_key(dataset, recipe, "local", "", 1), 1, recipe, dataset)


def train(bench: Bench, lines: list[str]) -> Model:
    wanted = order(bench)
    return run_job(wanted.recipe, wanted.dataset, bench.site(lines.append))


def kill_at(folder: JobFolder, share: float) -> int:
    """Kill the trainer once it has done that share of its steps, and return the step."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        assert time.monotonic() < deadline
        entries = folder.read_progress()
        if entries and entries[-1]["step"] >= share * entries[-1]["total_steps"]:
            break
        time.sleep(0.005)
    lease = Lease.read(folder)
    assert lease is not None
    os.kill(lease.pid, signal.SIGKILL)
    assert folder.read_done() is None, "it ended before it could be killed"
    return int(entries[-1]["step"])


def losses(model: Model) -> dict[str, tuple[tuple[int, float], ...]]:
    return {curve.name: curve.points for curve in model.curves if curve.name in ("loss", "eval_loss")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Model:
    project = tmp_path_factory.mktemp("undisturbed")
    (project / BASE).parent.mkdir(parents=True)
    os.symlink(base, project / BASE)
    return train(make_bench(project), [])


def test_a_killed_trainer_is_restarted_and_ends_with_the_same_losses(
    bench: Bench, undisturbed: Model
) -> None:
    folder = JobFolder(bench.settings.jobs / order(bench).key)
    killer = threading.Thread(target=kill_at, args=(folder, 0.6))
    killer.start()
    lines: list[str] = []
    model = train(bench, lines)
    killer.join()
    assert losses(model) == losses(undisturbed)
    assert model.digest == undisturbed.digest
    assert [line for line in lines if "was killed without a result" in line and "starting it again" in line]
    assert "resuming from checkpoint-" in folder.log_file.read_text()


def test_a_broken_checkpoint_is_ignored_by_whoever_submits_next(bench: Bench, undisturbed: Model) -> None:
    first = LocalBackend(bench.installation, {})
    wanted = order(bench)
    first.submit(wanted, lambda: None)
    folder = JobFolder(bench.settings.jobs / wanted.key)
    step = kill_at(folder, 0.65)  # between two checkpoints
    whole = step // 10 * 10  # an epoch has ten steps, and ends with a checkpoint
    (folder.checkpoints / "checkpoint-999").mkdir()
    cut = folder.checkpoints / "checkpoint-998"
    cut.mkdir()
    for file in (folder.checkpoints / f"checkpoint-{whole}").iterdir():
        (cut / file.name).write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    first._children[wanted.key].wait()  # a dead child stays on the list until its parent looks

    second = LocalBackend(bench.installation, {})
    assert not second.find(wanted)
    job = second.submit(wanted, lambda: None)
    deadline = time.monotonic() + WITHIN_S
    while (view := second.poll(job)).status is JobStatus.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(second.poll_every_s)
    assert view.status is JobStatus.SUCCEEDED, view.error
    assert second.fetch(job).digest == undisturbed.digest
    log = folder.log_file.read_text()
    assert "checkpoint-999 is incomplete: deleted" in log and "checkpoint-998 is incomplete: deleted" in log
    assert f"resuming from checkpoint-{whole}" in log
