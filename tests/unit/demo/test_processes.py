"""What the demo starts is ended whole, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from retune.demo.processes import Processes
from retune.errors import SetupError

# A child that leads its own session, as a trainer does, below a parent that ignores SIGTERM.
_PARENT = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
# Terminated in the middle of a start.
_TERMINATED = """
import os, signal, sys
from collections import UserDict
from pathlib import Path
from retune.demo.ending import end_on_sigterm
from retune.demo.processes import Processes

class Environment(UserDict):
    def keys(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().keys()

end_on_sigterm()
command = [sys.executable, "-c", "import time; time.sleep(600)"]
Processes(Path(sys.argv[1])).start("late", command, Environment(os.environ))
"""


def wait_for_line(path: Path) -> str:
    while not (text := path.read_text().strip()):
        os.sched_yield()
    return text


def test_a_later_command_ends_every_descendant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retune.demo.processes._GRACE_S", 1.0)
    started = Processes(tmp_path)
    started.start("parent", [sys.executable, "-c", _PARENT], os.environ)
    grandchild = psutil.Process(int(wait_for_line(started.log("parent"))))
    started.check()
    assert Processes(tmp_path).stop() == 2
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    assert Processes(tmp_path).stop() == 0


def test_children_of_a_dead_parent_are_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retune.demo.processes._GRACE_S", 1.0)
    started = Processes(tmp_path)
    script = _PARENT.replace(", start_new_session=True", "")
    started.start("parent", [sys.executable, "-c", script], os.environ)
    child = psutil.Process(int(wait_for_line(started.log("parent"))))
    started._children["parent"].kill()
    started._children["parent"].wait(timeout=30)
    assert Processes(tmp_path).stop() == 1
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_pid_that_now_belongs_to_another_is_left_alone(tmp_path: Path) -> None:
    me = psutil.Process()
    entry = {"pid": me.pid, "started": me.create_time() - 60, "boot": psutil.boot_time()}
    (tmp_path / "processes.json").write_text(json.dumps({"old": entry}))
    assert Processes(tmp_path).stop() == 0


def test_a_process_that_ended_is_said_with_its_log(tmp_path: Path) -> None:
    started = Processes(tmp_path)
    started.start("quick", [sys.executable, "-c", "print('no port left'); raise SystemExit(3)"], os.environ)
    started._children["quick"].wait(timeout=30)
    with pytest.raises(SetupError, match="(?s)quick ended with 3.*no port left"):
        started.check()


def test_who_is_terminated_while_it_starts_a_process_records_it_first(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _TERMINATED, str(tmp_path)])
    assert done.returncode == 128 + signal.SIGTERM
    assert Processes(tmp_path).stop() == 1
