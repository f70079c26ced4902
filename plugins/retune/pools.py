"""Airflow's pool for the GPU and its connections, reached through Airflow's own command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from retune.errors import SetupError
from retune.settings import EndpointAddress

GPU_POOL = "retune_gpu"
_TIMEOUT_S = 120


def airflow_command() -> Path | None:
    """Return Airflow's executable beside this interpreter, if AIRFLOW_HOME names a folder."""
    command = Path(sys.executable).with_name("airflow")
    # Airflow would make a home where there is none, and ~/airflow may be somebody else's.
    home = os.environ.get("AIRFLOW_HOME")
    return command if home and Path(home).is_dir() and command.exists() else None


def read_pools(command: Path) -> dict[str, dict[str, str]] | None:
    """Return Airflow's pools by name; None where its database is not initialised."""
    result = _run(command, "pools", "list", "--output", "json")
    start = result.stdout.find("[")
    if result.returncode != 0 or start < 0:
        return None
    return {pool["pool"]: pool for pool in json.loads(result.stdout[start:])}


def make_gpu_pool(command: Path) -> bool:
    """Make the pool with one slot, deferred tasks included, unless it is there.

    Returns:
        Whether it had to be made. An existing pool keeps its slots.

    Raises:
        SetupError: Airflow's database is not initialised, or Airflow refuses.
    """
    pools = read_pools(command)
    if pools is None:
        raise SetupError("Airflow's database is not initialised", "run `airflow db migrate`")
    if GPU_POOL in pools:
        return False
    words = (GPU_POOL, "1", "Training and serving work that needs the GPU", "--include-deferred")
    result = _run(command, "pools", "set", *words)
    if result.returncode != 0:
        raise SetupError(f"Airflow did not make the pool {GPU_POOL}: {result.stderr.strip()[-500:]}")
    return True


def read_endpoint(command: Path, name: str) -> EndpointAddress:
    """Return the address that an Airflow connection holds.

    Raises:
        SetupError: Airflow has no such connection, or does not answer in time.
    """
    result = _run(command, "connections", "get", name, "--output", "json")
    start = result.stdout.find("[")
    found = json.loads(result.stdout[start:])[0] if result.returncode == 0 and start >= 0 else {}
    if not found.get("host"):
        raise SetupError(
            f"Airflow has no connection {name!r} with a host",
            f"run `airflow connections add {name} --conn-type generic --conn-host http://HOST:PORT`",
        )
    url = str(found["host"])
    if "://" not in url:
        port = f":{found['port']}" if found["port"] else ""
        # As AirflowConnections does: a URI's scheme becomes the type, and its path the schema.
        schemes = [found[part] for part in ("schema", "conn_type") if found[part] in ("http", "https")]
        url = f"{schemes[0] if schemes else 'http'}://{url}{port}"
    return EndpointAddress(url.rstrip("/").removesuffix("/v1"), found["password"] or "")


def _run(command: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Airflow's command line; raises SetupError where it does not answer in time."""
    try:
        return subprocess.run(
            [command, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"`airflow {' '.join(words[:2])}` did not answer in {_TIMEOUT_S} s",
            "look whether Airflow's database answers (`airflow db check`), then run this again",
        ) from None
    except OSError as error:
        raise SetupError(f"{command} cannot be run: {error}", "install Airflow again") from error
