"""Retune's settings, stores and endpoints, as Airflow's configuration and connections name them."""

from __future__ import annotations

import os
from pathlib import Path

from retune.artifacts import Artifacts
from retune.errors import SetupError
from retune.settings import EndpointAddress, Settings, find_project
from retune.state.database import Database


def _option(name: str) -> str | None:
    from airflow.sdk import conf

    found = conf.get("retune", name, fallback=None) or os.environ.get(f"RETUNE_{name.upper()}")
    if not found and name == "project":
        # A service's working directory says nothing, but dags/ and include/ are neighbours.
        return str(find_project(Path(conf.get("core", "dags_folder"))))
    return found


def settings() -> Settings:
    """Return the settings of Airflow's `[retune]` section; RETUNE_<OPTION> fills what it leaves out.

    Raises:
        SetupError: No project folder can be found.
    """
    return Settings.load(_option)


def database() -> Database:
    """Return Retune's own database; nothing is opened yet."""
    return Database(settings().state_url)


def artifacts() -> Artifacts:
    """Return the artifacts' store."""
    return Artifacts(settings().artifacts_url)


class AirflowConnections:
    """Endpoints from Airflow's connections.

    A connection's host is the whole URL, or its schema (else its type, where that is `http` or
    `https`), host and port make it; its password is the key.
    """

    def endpoint(self, name: str) -> EndpointAddress:
        """Return the endpoint's address; raises SetupError where the connection is missing or empty."""
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            found = BaseHook.get_connection(name)
        except AirflowNotFoundException:
            raise SetupError(
                f"there is no Airflow connection {name!r}",
                f"airflow connections add {name} --conn-type generic --conn-host http://HOST:PORT",
            ) from None
        if not found.host:
            raise SetupError(f"connection {name!r} has no host", "put the endpoint's URL into its host")
        url = found.host
        if "://" not in url:
            port = f":{found.port}" if found.port else ""
            # A URI's scheme becomes the type, and its path the schema.
            schemes = [name for name in (found.schema, found.conn_type) if name in ("http", "https")]
            url = f"{schemes[0] if schemes else 'http'}://{url}{port}"
        return EndpointAddress(url.rstrip("/").removesuffix("/v1"), found.password or "")
