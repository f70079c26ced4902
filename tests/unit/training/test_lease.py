"""The lease: one trainer a directory, and a dead one is known to be dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from retune.training.job import JobFolder, Lease
from retune.training.lease import STALE_S, LeaseHeldError, hold, is_alive

HERE = socket.gethostname()


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def test_who_holds_the_lease_is_written_down_and_outlives_the_holder(folder: JobFolder) -> None:
    assert not is_alive(folder, time.time())
    with hold(folder):
        lease = Lease.read(folder)
        assert lease is not None
        assert (lease.host, lease.pid) == (HERE, os.getpid())
        assert is_alive(folder, time.time())


def test_a_second_holder_is_refused_and_told_who_has_it(folder: JobFolder) -> None:
    with hold(folder), pytest.raises(LeaseHeldError, match=f"process {os.getpid()} on {HERE}"), hold(folder):
        pass
    with hold(folder):
        pass


def test_another_host_that_beats_keeps_the_lease(folder: JobFolder) -> None:
    Lease("elsewhere", 1, time.time()).write(folder)
    with pytest.raises(LeaseHeldError, match="process 1 on elsewhere"), hold(folder):
        pass


def test_another_host_that_fell_silent_loses_it(folder: JobFolder) -> None:
    Lease("elsewhere", 1, time.time() - STALE_S - 1).write(folder)
    with hold(folder):
        lease = Lease.read(folder)
        assert lease is not None and lease.host == HERE


@pytest.mark.parametrize(("age_s", "alive"), [(0, True), (STALE_S - 1, True), (STALE_S + 1, False)])
def test_another_hosts_heartbeat_says_alive_for_a_while(folder: JobFolder, age_s: float, alive: bool) -> None:
    Lease("elsewhere", 1, 1000.0 - age_s).write(folder)
    assert is_alive(folder, 1000.0) is alive


def test_on_this_host_a_heartbeat_that_stands_still_says_nothing(folder: JobFolder) -> None:
    with hold(folder):
        assert is_alive(folder, time.time() + 100 * STALE_S)


def test_a_killed_holder_is_dead_at_once_whatever_its_heartbeat(folder: JobFolder) -> None:
    program = (
        "import sys, time; from pathlib import Path; from retune.training.lease import hold, JobFolder\n"
        "with hold(JobFolder(Path(sys.argv[1]))): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder.path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert is_alive(folder, time.time())
        holder.kill()
    assert not is_alive(folder, time.time())
    lease = Lease.read(folder)
    assert lease is not None and lease.pid == holder.pid


def test_who_only_looks_keeps_nobody_out(folder: JobFolder) -> None:
    folder.lock_file.touch()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_alive(folder, time.time())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(5):
            with hold(folder):
                pass
    finally:
        stop.set()
        looking.join()
