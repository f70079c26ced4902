"""Where an installation keeps its things, and how it reaches its endpoints."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from retune.errors import SetupError

OPENAI_URL = "https://api.openai.com/v1"
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SETTLE_S = 120.0
_MASKED_KEY = re.compile(r"[\w-]*\*{3,}[\w-]*")
_SHOWN = 600


def _environment(option: str) -> str | None:
    return os.environ.get(f"RETUNE_{option.upper()}")


def find_project(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds `include/pipelines`.

    Raises:
        SetupError: There is none.
    """
    for folder in (start, *start.parents):
        if (folder / "include" / "pipelines").is_dir():
            return folder
    raise SetupError(
        f"no Retune project at or above {start}",
        "set RETUNE_PROJECT to the folder that holds include/pipelines",
    )


@dataclass(frozen=True)
class Settings:
    """One installation's places. All paths are absolute."""

    project: Path
    """Root against which every path of a spec resolves."""
    home: Path
    """Local working files of this host; `<project>/.retune` by default."""
    state_url: str
    """SQLAlchemy URL of Retune's own database."""
    artifacts_url: str
    """fsspec URL under which artifacts lie by digest."""
    captured_url: str
    """fsspec URL under which agents put captured traffic."""
    mlflow_uri: str
    """MLflow's tracking store or server."""
    mlflow_page: str
    """Address of MLflow's pages for people; empty if none runs."""
    trainer_python: str
    """Interpreter that runs `python -m retune.training`."""
    vllm_python: str
    """Interpreter that has vLLM."""
    sources_private_hosts: tuple[str, ...] = ()
    """Web servers (`host` or `host:port`) with private addresses that data.sources may name."""
    settle_s: float = SETTLE_S
    """Longest time until a job that was asked for shows up in a provider's list: no job is asked for
    twice within it."""

    @classmethod
    def load(cls, option: Callable[[str], str | None] = _environment) -> Settings:
        """Read the settings.

        Args:
            option: Returns an option's text or None. By default `RETUNE_<OPTION>` of the
                environment; Airflow's side passes its configuration's `[retune]` section.

        Raises:
            SetupError: No project folder can be found.
        """
        project = Path(option("project") or find_project(Path.cwd())).resolve()
        home = (project / (option("home") or ".retune")).resolve()
        return cls(
            project=project,
            home=home,
            state_url=option("state_url") or f"sqlite:///{home / 'state.db'}",
            artifacts_url=option("artifacts_url") or (home / "artifacts").as_uri(),
            captured_url=option("captured_url") or (home / "captured").as_uri(),
            mlflow_uri=option("mlflow_uri") or f"sqlite:///{home / 'mlflow.db'}",
            mlflow_page=option("mlflow_page") or "",
            trainer_python=option("trainer_python") or sys.executable,
            vllm_python=option("vllm_python") or str(project / ".venv-vllm" / "bin" / "python"),
            sources_private_hosts=tuple((option("sources_private_hosts") or "").replace(",", " ").split()),
            settle_s=_seconds(option("settle_s")),
        )

    @property
    def jobs(self) -> Path:
        """Folder of the local training jobs, one folder a key."""
        return self.home / "jobs"

    def resolve(self, path: str) -> Path:
        """Return a path of a spec as an absolute one, against the project's root."""
        return (self.project / path).resolve()


def _seconds(text: str | None) -> float:
    try:
        found = float(text or SETTLE_S)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise SetupError(f"settle_s is {text!r}", "give seconds, such as 120")
    return found


@dataclass(frozen=True)
class EndpointAddress:
    """How to reach an OpenAI-compatible endpoint."""

    url: str
    """Base URL without `/v1`, such as `http://127.0.0.1:8000`."""
    api_key: str = ""

    def __repr__(self) -> str:
        return f"EndpointAddress({self.url!r})"


@dataclass(frozen=True)
class OpenAIAccount:
    """How to reach OpenAI, Azure or a service with the same API."""

    base_url: str
    """With its `/v1`."""
    api_key: str = field(repr=False)
    organization: str = ""
    project: str = ""

    def clean(self, text: str) -> str:
        """Return a text of the service as people may see it: no key, not even a masked one, and not long."""
        if self.api_key:
            text = text.replace(self.api_key, "***")
        return " ".join(_MASKED_KEY.sub("***", text).split())[:_SHOWN]


@dataclass(frozen=True)
class GoogleAccount:
    """How to reach a Google Cloud project."""

    project: str
    credentials: Any = field(repr=False)
    """google.auth credentials."""
    endpoint: str = ""
    """Base URL in place of Google's own, such as an emulator's; empty elsewhere."""


class Connections(Protocol):
    """Where addresses and credentials come from: Airflow there, the environment elsewhere.

    Each method raises SetupError where the name is not known or says too little.
    """

    def endpoint(self, name: str) -> EndpointAddress:
        """Return a serving endpoint's address."""
        ...

    def openai(self, name: str) -> OpenAIAccount:
        """Return an account of OpenAI, Azure or a compatible service."""
        ...

    def google(self, name: str) -> GoogleAccount:
        """Return a Google Cloud project with its credentials."""
        ...

    def ssh(self, name: str) -> Any:
        """Return a connected paramiko.SSHClient, whose host key was checked.

        Where the host does not answer: OSError, EOFError or paramiko.SSHException.
        """
        ...

    def kubernetes(self, name: str) -> Any:
        """Return a kubernetes.client.ApiClient."""
        ...


class EnvironmentConnections:
    """Reads the variables that each service's own tools read.

    Endpoints: `RETUNE_ENDPOINT_<NAME>` (URL) and `RETUNE_ENDPOINT_<NAME>_KEY`.
    """

    def endpoint(self, name: str) -> EndpointAddress:
        """Return the endpoint's address; raises SetupError where the variable is missing."""
        variable = f"RETUNE_ENDPOINT_{name.upper().replace('-', '_')}"
        url = os.environ.get(variable)
        if not url:
            raise SetupError(f"endpoint {name!r} is not known", f"set {variable} to its URL")
        return EndpointAddress(url.rstrip("/").removesuffix("/v1"), os.environ.get(f"{variable}_KEY", ""))

    def openai(self, name: str) -> OpenAIAccount:
        """Return the account of OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID and OPENAI_PROJECT_ID."""
        key = os.environ.get("OPENAI_API_KEY")
        if not key:
            raise SetupError(f"connection {name!r}: OPENAI_API_KEY is not set", "set it")
        return OpenAIAccount(
            base_url=os.environ.get("OPENAI_BASE_URL") or OPENAI_URL,
            api_key=key,
            organization=os.environ.get("OPENAI_ORG_ID", ""),
            project=os.environ.get("OPENAI_PROJECT_ID", ""),
        )

    def google(self, name: str) -> GoogleAccount:
        """Return Google's application default credentials; GOOGLE_VERTEX_BASE_URL names an emulator."""
        try:
            import google.auth
            from google.auth.exceptions import DefaultCredentialsError
        except ImportError as error:
            raise SetupError(f"connection {name!r}: {error}", "install the `vertex` extra") from error
        try:
            credentials, project = google.auth.default(scopes=[GOOGLE_SCOPE])
        except DefaultCredentialsError as error:
            action = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
            raise SetupError(f"connection {name!r}: Google finds no credentials", action) from error
        if not project:
            raise SetupError(f"connection {name!r}: no Google project is set", "set GOOGLE_CLOUD_PROJECT")
        return GoogleAccount(project, credentials, os.environ.get("GOOGLE_VERTEX_BASE_URL", ""))

    def ssh(self, name: str) -> Any:
        """Return a connection to the host of that name in ~/.ssh/config."""
        from retune.connections import ssh_by_config

        return ssh_by_config(name)

    def kubernetes(self, name: str) -> Any:
        """Return a client of the pod's own cluster, else of that context of KUBECONFIG."""
        from retune.connections import kubernetes_by_config

        return kubernetes_by_config(name)


class FileSystems(Protocol):
    """Where stores of files (`s3://`, `gs://`, ...) and their credentials come from."""

    def store(self, url: str, connection: str) -> tuple[Any, str]:
        """Return the store of a URL as an fsspec file system, and the URL's path in it.

        Args:
            url: Free of credentials.
            connection: The name that stood before the URL's `@`; may be empty.

        Raises:
            SetupError: The connection is not known here, or the store's package is missing.
        """
        ...


class EnvironmentFileSystems:
    """Opens stores with the credentials that their libraries find in the environment."""

    def store(self, url: str, connection: str) -> tuple[Any, str]:
        """Return the URL's store and the path in it; raises SetupError where that cannot be."""
        import fsspec

        if connection:
            raise SetupError(
                f"{connection!r} names an Airflow connection, which is known inside of Airflow only",
                "run it there, or leave the name out and give the credentials in the environment",
            )
        try:
            files, path = fsspec.url_to_fs(url)
        except ImportError as error:
            raise SetupError(f"{url.partition(':')[0]}:// needs a package: {error}", "install it") from None
        return files, path
