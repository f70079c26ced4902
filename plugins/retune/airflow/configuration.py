"""Retune's settings, stores and endpoints, as Airflow's configuration and connections name them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retune.artifacts import Artifacts
from retune.backends.base import Installation
from retune.connections import opened
from retune.errors import SetupError
from retune.settings import (
    OPENAI_URL,
    EndpointAddress,
    EnvironmentFileSystems,
    GoogleAccount,
    OpenAIAccount,
    Settings,
    find_project,
)
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


def installation() -> Installation:
    """Return what backends may use: the settings, the artifacts' store, Airflow's connections."""
    return Installation(settings(), artifacts(), AirflowConnections())


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
    """Addresses and credentials from Airflow's connections."""

    def endpoint(self, name: str) -> EndpointAddress:
        """Return the endpoint's address; raises SetupError where the connection is missing or empty.

        The connection's host is the whole URL, or its schema (else its type, where that is `http` or
        `https`), host and port make it; its password is the key.
        """
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

    def openai(self, name: str) -> OpenAIAccount:
        """Return the account of a connection of type `openai`, read as the provider's OpenAIHook does.

        The password is the key, the host the base URL; extra's `openai_client_kwargs` may hold
        `organization`, `project`, `base_url` and `api_key`.
        """
        found = _connection(name, "--conn-type openai --conn-password KEY")
        extra = found.extra_dejson
        given = extra.get("openai_client_kwargs") or {}
        key = given.get("api_key") or found.password
        if not key:
            raise SetupError(f"connection {name!r} has no API key", "put it into the connection's password")
        return OpenAIAccount(
            base_url=given.get("base_url") or found.host or OPENAI_URL,
            api_key=key,
            organization=given.get("organization") or "",
            project=given.get("project") or "",
        )

    def google(self, name: str) -> GoogleAccount:
        """Return the project and the credentials of a connection of type `google_cloud_platform`.

        Extra's `vertex_base_url` names an emulator.
        """
        found = _connection(name, "--conn-type google_cloud_platform --conn-extra '{...}'")
        try:
            from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
        except ImportError as error:
            raise SetupError(f"connection {name!r}: {error}", "install the `vertex` extra") from error
        try:
            credentials, project = GoogleBaseHook(gcp_conn_id=name).get_credentials_and_project_id()
        except Exception as error:  # the hook, google.auth and key files raise many kinds
            what = f"connection {name!r} gives no credentials: {type(error).__name__}"
            raise SetupError(what, "mend its key file; `airflow connections get` shows it") from None
        if not project:
            raise SetupError(f"connection {name!r} names no project", "put `project` into its extra")
        return GoogleAccount(project, credentials, str(found.extra_dejson.get("vertex_base_url", "")))

    def ssh(self, name: str) -> Any:
        """Return a connected paramiko client of a connection of type `ssh`, made by the provider's SSHHook.

        The host's key must be known: in ~/.ssh/known_hosts, or in `host_key` of the connection's extra;
        only the extra's `no_host_key_check` waives that.
        """
        _connection(name, "--conn-type ssh --conn-host HOST --conn-login USER --conn-extra '{...}'")
        try:
            from airflow.providers.ssh.hooks.ssh import SSHHook
        except ImportError as error:
            raise SetupError(f"connection {name!r}: {error}", "install the `ssh` extra") from error
        try:
            # Whoever asks tries again himself, and knows what cannot help.
            hook = SSHHook(ssh_conn_id=name, conn_retry_attempts=1)
        except Exception as error:  # AirflowException, ValueError, or a key's own errors
            what = f"connection {name!r} cannot be used: {type(error).__name__}"
            raise SetupError(what, "mend its host, its key and its extra") from None
        return opened(name, hook.get_conn)

    def kubernetes(self, name: str) -> Any:
        """Return a client of a connection of type `kubernetes`, made by the provider's KubernetesHook.

        Args:
            name: Empty: `kubernetes_default`; where that is missing too, the worker's own cluster.
        """
        try:
            from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
        except ImportError as error:
            raise SetupError(f"connection {name!r}: {error}", "install the `kubernetes` extra") from error
        if name:
            _connection(name, "--conn-type kubernetes --conn-extra '{...}'")
        try:
            return KubernetesHook(conn_id=name or KubernetesHook.default_conn_name).get_conn()
        except Exception as error:  # the hook, kubeconfig's reader and its plugins raise many kinds
            what = f"connection {name!r} names no cluster: {type(error).__name__}"
            action = "mend `kube_config`, `kube_config_path` or `in_cluster` in its extra"
            raise SetupError(what, action) from None


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
