"""Makes Retune's environments from the lock files: `.venv` and, for vLLM, `.venv-vllm`.

Needs Python 3.11-3.13 and a package index, nothing else: every package comes as a wheel, so no
compiler is asked for. A second call finds nothing to do and returns at once.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "requirements"
HOME = ROOT / ".retune"
TOOLS = HOME / "tools"
UV = TOOLS / "bin" / "uv"
NEEDED_GIB = 12
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Environment:
    """One virtual environment and the lock it is made from."""

    name: str
    folder: Path
    lock: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.folder / "retune-installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["retune", "vllm"], help="make one environment")
    only = parser.parse_args().only
    check_machine()
    HOME.mkdir(exist_ok=True)
    with (HOME / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kind = "gpu" if has_gpu() else "cpu"
        for name, folder in (("retune", ".venv"), ("vllm", ".venv-vllm")):
            if only in (None, name):
                make(Environment(name, ROOT / folder, LOCKS / f"{name}-{kind}.lock"), kind)
        if only != "vllm":
            # The project is installed in place, and many set PYTHONDONTWRITEBYTECODE.
            run(ROOT / ".venv" / "bin" / "python", "-m", "compileall", "-q", ROOT / "plugins" / "retune")
            migrate(ROOT / ".venv")


def check_machine() -> None:
    """Stop with one line where the environments cannot be made here."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        stop(f"needs Python 3.11 to 3.13, this is {platform.python_version()}: make PYTHON=python3.11 setup")
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        stop(f"the lock files are for Linux on x86_64 or aarch64, not {sys.platform} on {platform.machine()}")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        stop(f"this Python has no {error.name} module: install python3-venv (Debian) or use another Python")
    free = shutil.disk_usage(ROOT).free / 2**30
    if not (ROOT / ".venv").exists() and free < NEEDED_GIB:
        stop(f"{free:.1f} GiB free at {ROOT}, about {NEEDED_GIB} GiB needed: free some space")


def has_gpu() -> bool:
    """Say whether an NVIDIA GPU answers on this machine."""
    found = shutil.which("nvidia-smi")
    return found is not None and subprocess.run([found, "-L"], capture_output=True).returncode == 0


def make(environment: Environment, kind: str) -> None:
    """Bring one environment to its lock, unless it is there already."""
    wanted = fingerprint(environment.lock, ROOT / "pyproject.toml", Path(__file__))
    if environment.python.exists() and read(environment.stamp) == wanted:
        say(f"{environment.folder.name} is up to date")
        return
    environment.stamp.unlink(missing_ok=True)
    make_tools()
    say(f"{environment.folder.name}: installing {environment.lock.name} (a few minutes the first time)")
    started = time.monotonic()
    if not is_sound(environment):
        uv("venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, environment.folder)
    sync(environment, kind)
    if environment.name == "retune":
        uv("pip", "install", *at(environment), "--no-deps", "--no-build-isolation", "--editable", ROOT)
    environment.stamp.write_text(wanted)
    say(f"{environment.folder.name}: ready", started)


def is_sound(environment: Environment) -> bool:
    """Say whether the folder is a virtual environment of this very Python."""
    told = read(environment.folder / "pyvenv.cfg").replace(" ", "").splitlines()
    version = platform.python_version()  # `version` if venv made it, `version_info` if uv did
    same = f"version={version}" in told or f"version_info={version}" in told
    return environment.python.exists() and same


def make_tools() -> None:
    """Make the small environment that holds uv, from a lock of its own."""
    stamp, lock = TOOLS / "retune-installed", LOCKS / "bootstrap.lock"
    wanted = fingerprint(lock)
    if UV.exists() and read(stamp) == wanted:
        return
    started = time.monotonic()
    run(sys.executable, "-m", "venv", "--clear", TOOLS)
    run(TOOLS / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock)
    stamp.write_text(wanted)
    say("installer ready", started)


def sync(environment: Environment, kind: str) -> None:
    """Install exactly what the lock names; where its torch wheel does not fit, torch by its version."""
    find_links = os.environ.get("PIP_FIND_LINKS", "").split()
    where = [word for link in find_links for word in ("--find-links", link)]
    if kind == "cpu" and not find_links:
        where = ["--torch-backend=cpu"]
    lock = environment.lock
    # The hash of torch's CPU build is locked for this one Python and machine.
    fits = kind == "gpu" or (sys.version_info[:2] == (3, 11) and platform.machine() == "x86_64")
    if not fits:
        say(f"no CPU build of torch is locked for this Python: installing {TORCH} without a hash")
        lock = HOME / f"{lock.stem}-without-torch.lock"
        lock.write_text(without_cuda(environment.lock.read_text()))
    uv("pip", "sync", *at(environment), *where, "--require-hashes", "--only-binary", ":all:", lock)
    if not fits:
        uv("pip", "install", *at(environment), "--no-deps", "--torch-backend=cpu", TORCH)


def without_cuda(lock: str) -> str:
    """Drop torch and its CUDA libraries from a lock's text."""
    kept, keep = [], True
    for line in lock.splitlines(keepends=True):
        if line[0] not in " #\n":
            name = line.split("==")[0]
            keep = name not in ("torch", "triton") and not name.startswith(("nvidia-", "cuda-"))
        if keep:
            kept.append(line)
    return "".join(kept)


def migrate(folder: Path) -> None:
    """Bring Retune's state and MLflow's store to this version, once."""
    versions = sorted((ROOT / "plugins/retune/state").rglob("*.py"))
    stamp, wanted = HOME / "migrated", fingerprint(LOCKS / "retune-cpu.lock", *versions)
    if read(stamp) == wanted:
        return
    started = time.monotonic()
    run(folder / "bin" / "retune", "migrate")
    stamp.write_text(wanted)
    say("databases ready", started)


def fingerprint(*files: Path) -> str:
    """Return the hash of the files' bytes and of this Python."""
    digest = hashlib.sha256(f"{sys.version} {platform.machine()}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def at(environment: Environment) -> list[str | Path]:
    return ["--python", environment.python, "--compile-bytecode"]


def uv(*words: str | Path) -> None:
    run(UV, *words)


def run(*words: str | Path) -> None:
    command = [str(word) for word in words]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if code != 0:
        stop(f"failed with {code}: {' '.join(command)}")


def say(text: str, started: float | None = None) -> None:
    took = "" if started is None else f" ({time.monotonic() - started:.0f} s)"
    print(f"[setup] {text}{took}", flush=True)


def stop(text: str) -> NoReturn:
    sys.exit(f"[setup] {text}")


if __name__ == "__main__":
    main()
