"""Retune's settings, stores and endpoints, as Airflow's configuration and connections name them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retune.artifacts import Artifacts
from retune.errors import SetupError
from retune.settings import EndpointAddress, EnvironmentFileSystems, Settings, find_project
from retune.state.database import Database
from retune.state.replaced import open_artifacts


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
    return open_artifacts(settings(), database())


def _connection(name: str, options: str) -> Any:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException:
        raise SetupError(
            f"there is no Airflow connection {name!r}", f"airflow connections add {name} {options}"
        ) from None


class AirflowConnections:
    """Endpoints from Airflow's connections.

    A connection's host is the whole URL, or its schema (else its type, where that is `http` or
    `https`), host and port make it; its password is the key.
    """

    def endpoint(self, name: str) -> EndpointAddress:
        """Return the endpoint's address; raises SetupError where the connection is missing or empty."""
        found = _connection(name, "--conn-type generic --conn-host http://HOST:PORT")
        if not found.host:
            raise SetupError(f"connection {name!r} has no host", "put the endpoint's URL into its host")
        url = found.host
        if "://" not in url:
            port = f":{found.port}" if found.port else ""
            # A URI's scheme becomes the type, and its path the schema.
            schemes = [name for name in (found.schema, found.conn_type) if name in ("http", "https")]
            url = f"{schemes[0] if schemes else 'http'}://{url}{port}"
        return EndpointAddress(url.rstrip("/").removesuffix("/v1"), found.password or "")


class AirflowFileSystems(EnvironmentFileSystems):
    """Stores by Airflow's connections: `s3://my_connection@bucket/rows.jsonl`.

    Without a connection the store's library looks into the environment.
    """

    def store(self, url: str, connection: str) -> tuple[Any, str]:
        """Return the URL's store and the path in it; raises SetupError where that cannot be."""
        if not connection:
            return super().store(url, connection)
        from airflow.sdk import ObjectStoragePath

        # The Amazon hook takes a name it does not know as none, and whatever credentials it finds.
        _connection(connection, "--conn-type TYPE ...")
        try:
            files = ObjectStoragePath(url, conn_id=connection).fs
        except (ValueError, ImportError) as error:
            raise SetupError(
                f"Airflow cannot open {url.partition(':')[0]}:// by a connection: {error}",
                "install the store's provider, such as apache-airflow-providers-amazon[s3fs]",
            ) from None
        return files, files._strip_protocol(url)
