"""The lease: one trainer a directory, and a dead one is known to be dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retune.training.job import JobFolder, Lease
from retune.training.lease import STALE_S, LeaseHeldError, hold, is_alive

HERE = socket.gethostname()


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_who_holds_the_lease_is_written_down_and_outlives_the_holder(folder: JobFolder) -> None:
    assert not is_alive(Lease.read(folder), time.time())
    with hold(folder):
        lease = Lease.read(folder)
        assert lease is not None
        assert (lease.host, lease.pid) == (HERE, os.getpid())
        assert is_alive(lease, time.time())


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
def test_a_heartbeat_says_alive_for_a_while(age_s: float, alive: bool) -> None:
    assert is_alive(Lease("elsewhere", 1, 1000.0 - age_s), 1000.0) is alive
    assert is_alive(Lease(HERE, os.getpid(), 1000.0 - age_s), 1000.0) is alive


def test_a_dead_process_of_this_host_is_dead_at_once(dead_pid: int) -> None:
    assert not is_alive(Lease(HERE, dead_pid, 1000.0), 1000.0)
