"""A real sshd on this host, as a GPU box, and a house of the contract suite on it."""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from retune.backends.attempts import job_key
from retune.backends.base import Order
from retune.backends.local_jobs import stop_trainers
from retune.backends.ssh_jobs import SSHBackend
from retune.records import Dataset
from retune.settings import EnvironmentConnections
from tests.contract.house import House
from tests.tuning import BASE, Bench, make_base, make_bench

SSHD = Path("/usr/sbin/sshd")
ALIAS = "gpu-box"
WITHIN_S = 30


@dataclass(frozen=True)
class HomeConnections(EnvironmentConnections):
    """Reads .ssh of another home than the user's own."""

    home: Path

    def ssh(self, name: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(self.home))
            return super().ssh(name)


@dataclass(frozen=True)
class Box:
    """A host with an sshd that knows one user's key."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    """Holds the host's key, the user's (`home/.ssh`), and `jobs`."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"

    @property
    def key_file(self) -> Path:
        return self.home / ".ssh" / "id_ed25519"

    @property
    def host_key(self) -> str:
        """Type and key, as a known_hosts file has them."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def connections(self) -> HomeConnections:
        return HomeConnections(self.home)

    @property
    def place(self) -> dict[str, str]:
        return {"connection": ALIAS, "folder": str(self.jobs), "python": sys.executable}

    def cut(self) -> int:
        """Kill -9 what serves the open connections; return how many there were."""
        killed = 0
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a command that has just ended
                if child.name().startswith("sshd"):
                    child.kill()
                    killed += 1
        return killed


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


@contextmanager
def ssh_box(folder: Path, started: Callable[[], None] = lambda: None) -> Iterator[Box]:
    """Start an sshd of its own: own configuration, own host key, a free port, one user's key.

    Args:
        folder: Where its files go.
        started: Called in the child before sshd, such as to lower its limits.
    """
    _need_sshd()
    ssh = folder / "home" / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    make_key(folder / "host_key")
    make_key(ssh / "id_ed25519")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": ssh / "id_ed25519.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "yes",
        "Subsystem": "sftp internal-sftp",
        "SetEnv": "RETUNE_TRAINER_THREADS=1 HF_HUB_OFFLINE=1",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks up what is not logged in yet
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", folder / "sshd_config"],
            stderr=log,
            start_new_session=True,
            preexec_fn=started,
        )
    box = Box(process, port, folder)
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{port} {box.host_key}\n")
    (ssh / "config").write_text(
        f"Host {ALIAS}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {box.key_file}\n"
    )
    try:
        _await(port, process, folder / "sshd.log")
        yield box
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stop_trainers(box.jobs)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)


def _need_sshd() -> None:
    """Install openssh-server where that can be done, else skip."""
    if SSHD.exists():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"{SSHD} is missing: install openssh-server")
    with (Path(tempfile.gettempdir()) / "retune-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install = "apt-get install -y --no-install-recommends openssh-server"
        command = f"test -x {SSHD} || (apt-get update && {install})"
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"openssh-server cannot be installed: {last}")


def make_ssh_bench(box: Box, project: Path) -> Bench:
    """Make an installation whose connections lead to the box."""
    make_base(project / BASE)
    return replace(make_bench(project), connections=box.connections)


def make_ssh_order(bench: Bench, box: Box, dataset: Dataset, **changed: object) -> Order:
    recipe = bench.recipe(**changed).model_copy(update={"backend": "ssh", "place": box.place})
    return Order(job_key(dataset, recipe, "ssh", "", 1), 1, recipe, dataset)


def connect(bench: Bench, box: Box) -> SSHBackend:
    """Return a new backend that looks more often than a real one."""
    backend = SSHBackend(bench.installation, box.place)
    backend.poll_every_s = 0.2
    return backend


@contextmanager
def ssh_house(folder: Path) -> Iterator[House]:
    """The house of the contract suite: `with ssh_house(tmp_path_factory.mktemp("ssh")) as house: ...`."""
    with ssh_box(folder / "box") as box:
        bench = make_ssh_bench(box, folder / "project")
        dataset = bench.dataset()

        def order(**changed: object) -> Order:
            return make_ssh_order(bench, box, dataset, **changed)

        other = bench.recipe().model_copy(
            update={"backend": "ssh", "place": box.place, "base_digest": "sha256:" + "0" * 64}
        )
        yield House(
            connect=lambda: connect(bench, box),
            artifacts=bench.artifacts,
            good=order(),
            long=order(epochs=100_000, patience=100_000),
            refused=Order("refused", 1, other, dataset),
            failing=order(max_length=16),
        )
