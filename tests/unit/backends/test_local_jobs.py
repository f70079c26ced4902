"""A local job is read from its directory, whoever started it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from retune.backends import job_folders
from retune.backends.attempts import job_key
from retune.backends.base import JobLostError, Order
from retune.backends.jobs import run_job
from retune.backends.local_jobs import LocalBackend, stop_trainers
from retune.backends.stopping import cancel_job
from retune.backends.trainer_process import environment
from retune.errors import BackendError
from retune.records import Job, JobStatus
from retune.state import jobs
from retune.training.job import Done, JobFolder, Lease
from retune.training.lease import HELD, hold
from tests.tuning import BASE, NOW, Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    base = tmp_path / BASE
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    return make_bench(tmp_path)


@pytest.fixture
def backend(bench: Bench) -> LocalBackend:
    return LocalBackend(bench.installation, {})


def found(backend: LocalBackend, order: Order) -> Job:
    (seen,) = backend.find(order)
    return seen.job


@pytest.fixture
def order(bench: Bench) -> Order:
    dataset, recipe = bench.dataset(), bench.recipe()
    return Order(job_key(dataset, recipe, "local", "", 1), 1, recipe, dataset)


@pytest.fixture
def folder(bench: Bench, order: Order) -> JobFolder:
    folder = JobFolder(bench.settings.jobs / order.key)
    folder.path.mkdir(parents=True)
    return folder


def test_nothing_is_found_where_nothing_was_submitted(backend: LocalBackend, order: Order) -> None:
    assert not backend.find(order)


def test_a_live_trainer_of_another_process_is_adopted(
    backend: LocalBackend, order: Order, folder: JobFolder
) -> None:
    folder.append_progress({"step": 4, "total_steps": 8, "epoch": 1.0, "seconds": 1.5, "loss": 2.0})
    with hold(folder):
        job = found(backend, order)
        assert job.url == folder.path.as_uri()
        assert backend.poll(job).status is JobStatus.RUNNING
    curves = backend.curves(job)
    assert curves.total_steps == 8
    assert [(point.step, point.seconds, point.values) for point in curves.points] == [(4, 1.5, {"loss": 2.0})]


def test_a_trainer_that_finds_the_job_taken_leaves_it_running(
    bench: Bench, backend: LocalBackend, order: Order, folder: JobFolder
) -> None:
    """Two adopters that submit at the same moment: the later trainer ends with the code HELD."""
    with hold(folder):
        job = found(backend, order)
        job_folders.write(folder, order, bench.installation)
        backend._start(folder)  # as who looked before the lease was taken
        assert backend._children[order.key].wait() == HELD
        Lease(socket.gethostname(), os.getpid(), time.time() - 3600).write(folder)
        assert backend.poll(job).status is JobStatus.RUNNING
        assert backend.submit(order, lambda: None) == job
    with pytest.raises(JobLostError, match="was killed without a result"):
        backend.poll(job)


def test_cancelling_kills_a_trainer_whose_heartbeat_stands_still(
    backend: LocalBackend, order: Order, folder: JobFolder
) -> None:
    program = (
        "import sys; from pathlib import Path; from retune.training.lease import fcntl\n"
        "lock = Path(sys.argv[2], 'lease.lock').open('a'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, "retune.training", str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as trainer:
        assert trainer.stdout is not None and trainer.stdout.readline() == b"held\n"
        Lease(socket.gethostname(), trainer.pid, time.time() - 3600).write(folder)
        job = found(backend, order)
        backend.cancel(job)
        assert trainer.wait() == -signal.SIGKILL
    assert backend.poll(job).status is JobStatus.CANCELLED


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_an_ended_job_is_found_and_says_how_it_ended(
    backend: LocalBackend, order: Order, folder: JobFolder, status: str
) -> None:
    folder.finish(Done(status, error="why", seconds=3.0))  # type: ignore[arg-type]
    job = found(backend, order)
    view = backend.poll(job)
    assert (view.status, view.error, view.seconds) == (JobStatus(status), "why", 3.0)


def test_a_trainer_that_fell_silent_is_lost_with_its_last_words(
    backend: LocalBackend, order: Order, folder: JobFolder
) -> None:
    Lease("elsewhere", 1, time.time() - 60).write(folder)
    folder.log_file.write_text("starting\nKilled\n")
    assert not backend.find(order)
    folder.finish(Done("failed"))
    job = found(backend, order)
    folder.done_file.unlink()
    with pytest.raises(JobLostError, match="was killed without a result; its last words: Killed"):
        backend.poll(job)


def test_an_unreadable_directory_is_an_error_and_never_no_job(
    backend: LocalBackend, order: Order, folder: JobFolder
) -> None:
    folder.done_file.write_text("{")
    with pytest.raises(BackendError, match="cannot be read"):
        backend.find(order)


def test_a_base_model_that_changed_since_is_refused(
    bench: Bench, backend: LocalBackend, order: Order
) -> None:
    backend.validate(order)
    (bench.settings.resolve(BASE) / "config.json").write_text('{"other": 1}')
    with pytest.raises(BackendError, match="the recipe was resolved with"):
        backend.validate(order)


def test_an_empty_side_is_refused(bench: Bench, backend: LocalBackend, order: Order) -> None:
    dataset = bench.dataset(train=16, validation=0)
    with pytest.raises(BackendError, match="validation side of dataset .* is empty"):
        backend.validate(Order("key", 1, order.recipe, dataset))


def test_a_pid_that_is_now_somebody_elses_is_not_killed(bench: Bench, folder: JobFolder) -> None:
    with hold(folder):
        assert stop_trainers(bench.settings.jobs) == []


def test_a_trainer_on_another_host_is_said_not_killed(
    backend: LocalBackend, order: Order, folder: JobFolder
) -> None:
    Lease("elsewhere", 1, time.time()).write(folder)
    job = found(backend, order)
    with pytest.raises(BackendError, match="runs on elsewhere"):
        backend.cancel(job)


def test_a_job_that_another_host_has_in_its_own_home_is_said_not_submitted(
    bench: Bench, order: Order, folder: JobFolder
) -> None:
    """A retry lands on another host than the first try, which still trains."""
    Lease("host-a", 1, time.time()).write(folder)
    handle = LocalBackend(bench.installation, {})._handle(order, folder)
    other = replace(bench, settings=replace(bench.settings, home=bench.settings.home / "host-b"))
    with bench.db.write() as tx:
        jobs.intend(tx, order.key, order.dataset.pipeline, "local", 1, {}, NOW)
        jobs.submitted(tx, order.key, handle)

    acts: tuple[Callable[..., object], ...] = (run_job, cancel_job)
    for act in acts:
        with pytest.raises(BackendError, match="was started on host host-a.* run the task on host-a"):
            act(order.recipe, order.dataset, other.site())
    assert not other.settings.jobs.exists()
    with bench.db.read() as tx:
        row = jobs.get(tx, order.key)
    assert row is not None and row.status is JobStatus.RUNNING
    # As the error says for a host that is gone for good.
    (other.settings.jobs / order.key).mkdir(parents=True)
    with pytest.raises(JobLostError):
        LocalBackend(other.installation, {}).poll(handle)


def test_a_full_disk_is_one_clear_error_and_nothing_half_written(
    backend: LocalBackend, bench: Bench, order: Order
) -> None:
    folder = JobFolder(bench.settings.jobs / order.key)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # bytes of a file
    try:
        with pytest.raises(BackendError, match=r"cannot be written: .*File too large -> free space"):
            backend.submit(order, lambda: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in folder.path.rglob("*") if path.is_file()]
    assert not backend.find(order)


def test_the_trainer_gets_this_package_alone_and_no_secret(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("AIRFLOW_CONN_BANK", "secret")
    monkeypatch.setenv("RETUNE_STATE_URL", "secret")
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM_KEY", "secret")
    monkeypatch.setenv("RETUNE_TRAINER_THREADS", "2")
    env = environment(folder)
    assert "secret" not in env.values() and env["RETUNE_TRAINER_THREADS"] == "2"
    assert os.listdir(env["PYTHONPATH"]) == ["retune"]
