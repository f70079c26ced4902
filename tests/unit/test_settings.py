from __future__ import annotations

from pathlib import Path

import pytest

from retune.errors import SetupError
from retune.settings import EnvironmentConnections, Settings, find_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "include" / "pipelines").mkdir(parents=True)
    return tmp_path


def test_everything_lies_below_the_project_by_default(project: Path) -> None:
    settings = Settings.load({"project": str(project)}.get)
    assert settings.home == project / ".retune"
    assert settings.state_url == f"sqlite:///{project}/.retune/state.db"
    assert settings.artifacts_url == f"file://{project}/.retune/artifacts"
    assert settings.jobs == project / ".retune" / "jobs"
    assert settings.resolve("include/data/x.jsonl") == project / "include" / "data" / "x.jsonl"
    assert settings.resolve("/abs/x") == Path("/abs/x")


def test_options_win(project: Path) -> None:
    options = {"project": str(project), "home": "elsewhere", "state_url": "postgresql://db/r"}
    settings = Settings.load(options.get)
    assert settings.home == project / "elsewhere"
    assert settings.state_url == "postgresql://db/r"
    assert settings.mlflow_uri == f"sqlite:///{project}/elsewhere/mlflow.db"


def test_the_environment_is_read_by_default(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETUNE_PROJECT", str(project))
    monkeypatch.setenv("RETUNE_HOME", "/var/retune")
    monkeypatch.setenv("RETUNE_MLFLOW_URI", "http://mlflow:5000")
    settings = Settings.load()
    assert (settings.home, settings.mlflow_uri) == (Path("/var/retune"), "http://mlflow:5000")


def test_the_project_is_found_from_below(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert find_project(below) == project
    with pytest.raises(SetupError, match="set RETUNE_PROJECT"):
        find_project(Path("/"))


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_endpoints_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM_DEFAULT", url)
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM_DEFAULT_KEY", "secret")
    address = EnvironmentConnections().endpoint("vllm-default")
    assert (address.url, address.api_key) == ("http://h:1", "secret")
    assert "secret" not in repr(address)


def test_an_unknown_endpoint_says_which_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="set RETUNE_ENDPOINT_NOWHERE"):
        EnvironmentConnections().endpoint("nowhere")
