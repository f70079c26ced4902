"""Training by SSH, against a real sshd on this host."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retune.backends.base import JobLostError, TransientError
from retune.backends.jobs import run_job
from retune.backends.ssh_host import Host
from retune.backends.ssh_jobs import SSHBackend
from retune.backends.ssh_shipping import prepare, write_code
from retune.errors import BackendError
from retune.records import JobStatus
from retune.training.job import Done, JobFolder, Lease
from tests.contract.ssh_house import (
    ALIAS,
    Box,
    HomeConnections,
    connect,
    make_key,
    make_ssh_bench,
    make_ssh_order,
    ssh_box,
)
from tests.tuning import Bench

WITHIN_S = 120
ROOT = Path(__file__).resolve().parents[2]
# Dies where the job is copied and nothing is started.
SUBMIT = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from retune.backends.base import Order
from retune.backends.ssh_jobs import SSHBackend
from retune.records import Dataset, Recipe
from tests.contract.ssh_house import HomeConnections
from tests.tuning import make_bench

given = json.load(sys.stdin)
bench = replace(make_bench(Path(given["project"])), connections=HomeConnections(Path(given["home"])))
recipe = Recipe.from_json(given["recipe"])
order = Order(given["key"], 1, recipe, Dataset.from_json(given["dataset"]))
SSHBackend(bench.installation, recipe.place).submit(order, lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with ssh_box(tmp_path_factory.mktemp("box")) as box:
        yield box


@pytest.fixture(scope="module")
def bench(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_ssh_bench(box, tmp_path_factory.mktemp("project"))


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """An interpreter without any package."""
    python = tmp_path / "bare"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    return python


def until(reached: Any) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def done_share(folder: JobFolder) -> float:
    entries = folder.read_progress()
    return entries[-1]["step"] / entries[-1]["total_steps"] if entries else 0.0


def trainer_of(folder: JobFolder) -> int:
    lease = Lease.read(folder)
    assert lease is not None
    return lease.pid


def test_a_job_outlives_its_connection_and_its_trainer(bench: Bench, box: Box) -> None:
    order = make_ssh_order(bench, box, bench.dataset(), epochs=10, patience=10)
    folder, cut = JobFolder(box.jobs / order.key), [0]

    def disturb() -> None:
        until(lambda: done_share(folder) > 0.3)
        cut[0] = box.cut()
        until(lambda: done_share(folder) > 0.6)
        os.kill(trainer_of(folder), signal.SIGKILL)

    lines: list[str] = []
    disturber = threading.Thread(target=disturb)
    disturber.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SSHBackend, "poll_every_s", 0.2)
        model = run_job(order.recipe, order.dataset, bench.site(lines.append))
    disturber.join()
    assert cut[0] > 0
    assert [line for line in lines if "was killed without a result" in line and "starting it again" in line]
    assert "resuming from checkpoint-" in folder.log_file.read_text()
    assert (model.kind, model.backend, model.place, model.cost_usd) == ("adapter", "ssh", box.place, 0.0)
    assert bench.artifacts.exists(model.digest)
    assert {curve.name for curve in model.curves} >= {"loss", "eval_loss"}
    # Neither rows nor what was made of them stay on the box.
    assert {path.name for path in folder.path.iterdir() if path.is_dir()} == {"model"}
    assert not list(bench.settings.home.glob("ssh-*"))


def test_a_submit_that_was_killed_before_the_start_is_carried_on(bench: Bench, box: Box) -> None:
    order = make_ssh_order(bench, box, bench.dataset(), epochs=100_000, patience=100_000)
    given = {
        "project": str(bench.settings.project),
        "home": str(box.home),
        "key": order.key,
        "recipe": order.recipe.to_json(),
        "dataset": order.dataset.to_json(),
    }
    killed = subprocess.run([sys.executable, "-c", SUBMIT], input=json.dumps(given), text=True, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    folder = JobFolder(box.jobs / order.key)
    copied = folder.job_file.stat().st_mtime_ns
    backend = connect(bench, box)
    assert backend.find(order) == []
    job = backend.submit(order, lambda: None)
    assert folder.job_file.stat().st_mtime_ns == copied
    pid = trainer_of(folder)
    assert connect(bench, box).submit(order, lambda: None) == job
    assert trainer_of(folder) == pid  # adopted, not doubled
    assert [(one.job, one.status) for one in backend.find(order)] == [(job, JobStatus.RUNNING)]
    connect(bench, box).cancel(job)
    until(
        lambda: not os.path.exists(f"/proc/{pid}") or "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    )
    assert backend.poll(job).status is JobStatus.CANCELLED


def test_a_connection_that_breaks_in_a_look_is_made_anew(box: Box) -> None:
    host = Host(box.connections, ALIAS)
    assert host.run("echo here").out == "here\n"
    with pytest.raises(TransientError, match="gpu-box does not answer"):
        host.run("kill -9 $PPID; sleep 60")
    assert host.run("echo here").out == "here\n"
    assert box.cut() > 0  # while nobody looks
    until(lambda: not host._client.get_transport().is_active())
    assert host.run("echo here").out == "here\n"


def test_a_box_that_is_down_may_come_back(box: Box, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    with pytest.raises(TransientError, match="box.invalid does not answer"):
        Host(HomeConnections(home), "box.invalid").run("true")


def with_ssh_files(box: Box, home: Path, **files: str) -> Host:
    """A host as another user sees it, whose .ssh differs in these files."""
    (home / ".ssh").mkdir(parents=True)
    for name in ("config", "known_hosts"):
        (home / ".ssh" / name).write_text(files.get(name, (box.home / ".ssh" / name).read_text()))
    return Host(HomeConnections(home), ALIAS)


def refusal(host: Host) -> str:
    with pytest.raises(BackendError) as caught:
        host.run("true")
    assert not isinstance(caught.value, TransientError)
    return str(caught.value)


def test_an_unknown_host_key_is_refused_and_not_noted(box: Box, tmp_path: Path) -> None:
    host = with_ssh_files(box, tmp_path, known_hosts="")
    assert "the host's key is not known -> compare it" in refusal(host)
    assert (tmp_path / ".ssh" / "known_hosts").read_text() == ""


def test_another_host_key_is_refused(box: Box, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    key = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    host = with_ssh_files(box, tmp_path, known_hosts=f"[127.0.0.1]:{box.port} {key}\n")
    assert "shows another key than the one that is known" in refusal(host)


def test_a_wrong_key_is_refused(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    make_key(tmp_path / "other")
    config = (box.home / ".ssh" / "config").read_text().replace(str(box.key_file), str(tmp_path / "other"))
    assert "the host refuses the login" in refusal(with_ssh_files(box, tmp_path, config=config))


def test_a_key_file_that_is_not_there_is_named(box: Box, tmp_path: Path) -> None:
    config = (box.home / ".ssh" / "config").read_text().replace(str(box.key_file), "/nowhere/key")
    assert "/nowhere/key cannot be read" in refusal(with_ssh_files(box, tmp_path, config=config))


def test_a_folder_against_the_logins_home_is_found(bench: Bench, box: Box) -> None:
    home = Host(box.connections, ALIAS).home()
    for folder in ("~/jobs", "jobs", f"{home}/jobs/"):
        place = box.place | {"folder": folder, "python": "~/venv/bin/python"}
        backend = SSHBackend(bench.installation, place)
        assert (backend._root, backend._python) == (f"{home}/jobs", f"{home}/venv/bin/python")
    assert SSHBackend(bench.installation, {**box.place, "python": ""})._python == "python3"


def test_an_interpreter_that_will_not_do_is_refused_before_anything_is_copied(
    bench: Bench, box: Box, bare_python: Path
) -> None:
    for python, said in (("/nowhere/python", "cannot be run"), (str(bare_python), "has no TRL, not trl 1")):
        order = make_ssh_order(bench, box, bench.dataset(), seed_of_test=python)
        backend = SSHBackend(bench.installation, box.place | {"python": python})
        with pytest.raises(BackendError, match=said) as caught:
            backend.submit(order, lambda: pytest.fail("nothing may be posted"))
        assert "set the recipe's `python`" in str(caught.value)
        assert not (box.jobs / order.key).exists()


def test_a_folder_that_cannot_be_made_is_said(box: Box) -> None:
    with pytest.raises(BackendError, match="/proc/nowhere.* -> give a `folder` that can be written"):
        prepare(Host(box.connections, ALIAS), "/proc/nowhere", sys.executable, "trl 1")


def test_too_little_room_is_said_before_anything_is_copied(bench: Bench, box: Box, tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"x" * 2_000_000)
    backend = connect(bench, box)
    with pytest.raises(BackendError, match="2.0 MB go to .*; 1.0 MB are free -> free space"):
        backend._put(tmp_path, f"{box.jobs}/bases/big", 1_000_000)
    assert not (box.jobs / "bases" / "big").exists()


def test_a_disk_that_fills_in_a_copy_leaves_nothing_half_done(tmp_path: Path) -> None:
    def lower() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "weights").write_bytes(b"x" * 300_000)
    with ssh_box(tmp_path / "box", lower) as box:
        host = Host(box.connections, ALIAS)
        with pytest.raises(BackendError, match="gpu-box: .* -> look at the disk") as caught:
            host.put_tree(tmp_path / "from", f"{box.folder}/to")
        assert not isinstance(caught.value, TransientError)
        assert not [path for path in box.folder.iterdir() if "to" in path.name.split(".")]


def test_two_that_copy_the_same_folder_agree(box: Box, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("the same")
    host, target = Host(box.connections, ALIAS), f"{box.folder}/twice"
    host.put_tree(tmp_path, target)
    host.put_tree(tmp_path, target)
    host.get_tree(target, tmp_path / "back")
    assert (tmp_path / "back" / "deep" / "file").read_text() == "the same"
    assert not list(box.folder.glob(".twice.*"))


def test_a_job_whose_directory_was_cleared_is_lost(bench: Bench, box: Box) -> None:
    order = make_ssh_order(bench, box, bench.dataset())
    backend = connect(bench, box)
    job = backend._handle(order, f"{box.jobs}/{order.key}")
    with pytest.raises(JobLostError, match="is no longer on gpu-box"):
        backend.poll(job)
    backend.cancel(job)  # nothing to do


def test_the_code_there_is_shipped_again_where_somebody_cleared_it(
    bench: Bench, box: Box, bare_python: Path
) -> None:
    order = make_ssh_order(bench, box, bench.dataset())
    backend = SSHBackend(bench.installation, box.place | {"python": str(bare_python)})
    job = backend._handle(order, f"{box.jobs}/{order.key}")
    with pytest.raises(JobLostError):
        backend.poll(job)
    Host(box.connections, ALIAS).run(f"rm -rf {backend._code}")
    with pytest.raises(TransientError, match="gave no answer"):
        backend.poll(job)
    with pytest.raises(JobLostError):
        backend.poll(job)


def test_a_model_that_arrives_damaged_is_not_stored(bench: Bench, box: Box) -> None:
    order = make_ssh_order(bench, box, bench.dataset(), epochs=3)
    folder = JobFolder(box.jobs / order.key)
    folder.model.mkdir(parents=True)
    folder.job_file.write_text("{}")
    (folder.model / "adapter_config.json").write_text("{}")
    folder.finish(Done("succeeded", seconds=2.0))
    backend = connect(bench, box)
    job = backend._handle(order, str(folder.path))
    backend._host.get_tree = lambda path, target: (  # type: ignore[method-assign]
        target.mkdir(),
        (target / "adapter_config.json").write_text("{"),
    )
    with pytest.raises(TransientError, match="did not arrive as it is there"):
        backend.fetch(job)
    del backend._host.get_tree
    assert backend.fetch(job).kind == "adapter"


def test_the_shipped_code_needs_the_standard_library_only(tmp_path: Path) -> None:
    write_code(tmp_path)
    command = [sys.executable, "-S", "-m", "retune.backends.ssh_box", "look", str(tmp_path / "no-job")]
    asked = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert json.loads(asked.stdout) == {"there": False}, asked.stderr


def airflow_connection(box: Box, **extra: object) -> str:
    found = {
        "conn_type": "ssh",
        "host": "127.0.0.1",
        "port": box.port,
        "login": os.environ.get("USER", "root"),
    }
    return json.dumps(found | {"extra": {"key_file": str(box.key_file), "look_for_keys": "false"} | extra})


def test_airflows_connection_checks_the_hosts_key(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from retune.airflow.configuration import AirflowConnections

    monkeypatch.setenv("HOME", str(box.folder))  # knows no host
    monkeypatch.setenv("AIRFLOW_CONN_GPU_BOX", airflow_connection(box, host_key=box.host_key))
    assert Host(AirflowConnections(), "gpu_box").run("echo here").out == "here\n"
    monkeypatch.setenv("AIRFLOW_CONN_GPU_BOX", airflow_connection(box))
    assert "the host's key is not known" in refusal(Host(AirflowConnections(), "gpu_box"))
    monkeypatch.setenv("AIRFLOW_CONN_GPU_BOX", airflow_connection(box, no_host_key_check="true"))
    assert Host(AirflowConnections(), "gpu_box").run("echo here").out == "here\n"
    monkeypatch.setenv("AIRFLOW_CONN_GPU_BOX", airflow_connection(box, private_key="hunter2"))
    assert "hunter2" not in refusal(Host(AirflowConnections(), "gpu_box"))
    assert "there is no Airflow connection 'other'" in refusal(Host(AirflowConnections(), "other"))
