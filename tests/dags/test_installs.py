"""The wheel, an editable install and the bare folder all load in a real Airflow, once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(sysconfig.get_path("purelib"))

# Runs with -S, so it sees the prepared site folder and nothing of the environment around it.
LOOK = """
import json, logging, site, sys
site.addsitedir(sys.argv[1])
logging.disable(logging.CRITICAL)
from airflow import plugins_manager
from airflow.providers_manager import ProvidersManager
import airflow.settings
airflow.settings.prepare_syspath_for_config_and_plugins()
plugins, errors = plugins_manager._get_plugins()
import retune
provider = ProvidersManager().providers.get("airflow-provider-retune")
print("FOUND " + json.dumps({
    "names": [plugin.name for plugin in plugins],
    "errors": errors,
    "package": retune.__file__,
    "provider": provider.version if provider else None,
    "shadowed": sorted(
        name for name, module in sys.modules.items()
        if "/retune/" in (getattr(module, "__file__", "") or "") and not name.startswith("retune")
    ),
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site folder with everything but Retune."""
    folder = tmp_path_factory.mktemp("site")
    for entry in SITE.iterdir():
        if entry.suffix != ".pth" and not entry.name.startswith(("airflow_provider_retune", "retune")):
            (folder / entry.name).symlink_to(entry)
    return folder


def install(kind: str, site: Path, target: Path) -> None:
    """Put a wheel's files into a copy of the site folder, as pip would."""
    shutil.copytree(site, target, symlinks=True)
    if kind == "folder":
        return
    program = f"from hatchling.build import build_{kind} as build; print(build({str(target.parent)!r}))"
    built = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(target.parent / built.stdout.split()[-1]) as wheel:
        wheel.extractall(target)


def look(site: Path, plugins: Path, home: Path) -> dict[str, Any]:
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "PYTHONPATH": "",
    }
    result = subprocess.run(
        [sys.executable, "-S", "-c", LOOK, str(site)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("FOUND "))
    found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return found


@pytest.mark.parametrize("kind", ["wheel", "editable", "folder"])
def test_the_plugin_loads_once(kind: str, site: Path, tmp_path: Path) -> None:
    # The folder is Airflow's plugins folder in all three: beside an install the shim must keep still.
    plugins, home = tmp_path / "plugins", tmp_path / "home"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    install(kind, site, tmp_path / "site")
    found = look(tmp_path / "site", plugins, home)
    assert found["errors"] == {}
    assert found["names"].count("retune") == 1
    assert found["shadowed"] == []
    package = {"wheel": tmp_path / "site", "editable": ROOT / "plugins", "folder": plugins}[kind]
    assert found["package"] == str(package / "retune" / "__init__.py")
    assert found["provider"] == (None if kind == "folder" else "0.1.0")
