"""What is installed, built and composed fits together: no file names something that is not there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from retune.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_hold_pinned_names_and_hashes_only(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert re.fullmatch(
            r"[a-z0-9._-]+==[^ ]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|    #  ? ?.*", line
        ), line
        assert "//" not in line and "/opt" not in line and "/tmp" not in line, line


def test_the_trainers_packages_are_the_local_extra() -> None:
    lines = (ROOT / "requirements" / "trainer.in").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted == PROJECT["optional-dependencies"]["local"]


def test_the_trainers_lock_has_no_airflow() -> None:
    assert "airflow" not in (ROOT / "requirements" / "trainer-cpu.lock").read_text()


def test_all_leaves_vllm_out() -> None:
    assert "vllm" not in str(PROJECT["optional-dependencies"]["all"])
    assert "vllm" in PROJECT["optional-dependencies"]


def test_the_installer_refuses_another_machine_in_one_line() -> None:
    program = (
        "import runpy, sys; sys.version_info = (3, 10, 1); sys.argv = ['install.py'];"
        "runpy.run_path('requirements/install.py', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "needs Python 3.11 to 3.13" in result.stderr


def test_torch_can_be_left_out_of_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "requirements"))
    import install

    lock = (ROOT / "requirements" / "retune-cpu.lock").read_text()
    names = re.findall(r"^([a-z0-9._-]+)==", install.without_cuda(lock), re.M)
    gone = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.M)) - set(names)
    assert {"torch", "triton", "nvidia-cublas", "cuda-toolkit"} <= gone
    assert all(name in ("torch", "triton") or name.startswith(("nvidia-", "cuda-")) for name in gone)
    assert f"{install.TORCH}+cpu" in lock


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_what_there_is(name: str) -> None:
    service = SERVICES[name]
    assert "image" in service
    build = service.get("build")
    if build:
        assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
    for word in re.findall(r"\bretune ([a-z]+)", str(service.get("command", ""))):
        assert word in COMMANDS
    for option in re.findall(r"(--[a-z-]+)", str(service.get("command", ""))):
        if "retune serve" in service["command"]:
            assert option in {opt for param in COMMANDS["serve"].params for opt in param.opts}
    waited = service.get("depends_on", {})
    assert set(waited) <= set(SERVICES)
    volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
    assert volumes <= set(COMPOSE["volumes"])


def test_every_image_is_built_or_pinned() -> None:
    built = {service["image"] for service in SERVICES.values() if "build" in service}
    for service in SERVICES.values():
        assert service["image"] in built or re.fullmatch(r"[a-z]+:\d+", service["image"])


@pytest.mark.parametrize("path", sorted(DOCKER.glob("Dockerfile.*")), ids=lambda path: path.name)
def test_images_copy_what_there_is(path: Path) -> None:
    for line in path.read_text().splitlines():
        if line.startswith("COPY "):
            for kind in ("cpu", "gpu"):
                *sources, _ = line.replace("${KIND}", kind).split()[1:]
                assert all((ROOT / source).exists() for source in sources), line
