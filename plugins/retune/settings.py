"""Where an installation keeps its things, and how it reaches its endpoints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retune.errors import SetupError


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
        )

    @property
    def jobs(self) -> Path:
        """Folder of the local training jobs, one folder a key."""
        return self.home / "jobs"

    def resolve(self, path: str) -> Path:
        """Return a path of a spec as an absolute one, against the project's root."""
        return (self.project / path).resolve()


@dataclass(frozen=True)
class EndpointAddress:
    """How to reach an OpenAI-compatible endpoint."""

    url: str
    """Base URL without `/v1`, such as `http://127.0.0.1:8000`."""
    api_key: str = ""

    def __repr__(self) -> str:
        return f"EndpointAddress({self.url!r})"


class Connections(Protocol):
    """Where addresses and credentials come from: Airflow there, the environment elsewhere."""

    def endpoint(self, name: str) -> EndpointAddress:
        """Return the endpoint's address; raises SetupError where it is not known."""
        ...


class EnvironmentConnections:
    """Reads `RETUNE_ENDPOINT_<NAME>` (URL) and `RETUNE_ENDPOINT_<NAME>_KEY`."""

    def endpoint(self, name: str) -> EndpointAddress:
        """Return the endpoint's address; raises SetupError where the variable is missing."""
        variable = f"RETUNE_ENDPOINT_{name.upper().replace('-', '_')}"
        url = os.environ.get(variable)
        if not url:
            raise SetupError(f"endpoint {name!r} is not known", f"set {variable} to its URL")
        return EndpointAddress(url.rstrip("/").removesuffix("/v1"), os.environ.get(f"{variable}_KEY", ""))


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
