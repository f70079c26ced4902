"""What Airflow's configuration and connections say, as Retune reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.airflow import configuration
from retune.airflow.provider_info import get_provider_info
from retune.errors import SetupError
from retune.settings import Settings
from tests.dags.conftest import House, states


@pytest.mark.parametrize(
    ("uri", "url", "key"),
    [
        ("http://10.0.0.7:8000", "http://10.0.0.7:8000", ""),
        ("generic://:s3cret@http%3A%2F%2Fvllm%3A8000%2Fv1%2F", "http://vllm:8000", "s3cret"),
        ("generic://:s3cret@vllm.example.com/https", "https://vllm.example.com", "s3cret"),
        ("https://:s3cret@vllm.example.com", "https://vllm.example.com", "s3cret"),
        ("https://:s3cret@vllm.example.com:8443/v1", "https://vllm.example.com:8443", "s3cret"),
        (
            '{"conn_type": "https", "host": "vllm.example.com", "password": "s3cret"}',
            "https://vllm.example.com",
            "s3cret",
        ),
        (
            '{"conn_type": "http", "schema": "https", "host": "vllm.example.com", "password": "s3cret"}',
            "https://vllm.example.com",
            "s3cret",
        ),
    ],
)
def test_a_connection_is_an_endpoint(monkeypatch: pytest.MonkeyPatch, uri: str, url: str, key: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VLLM_HERE", uri)
    found = configuration.AirflowConnections().endpoint("vllm_here")
    assert (found.url, found.api_key) == (url, key)
    assert key == "" or key not in repr(found)


def test_a_connection_without_a_host_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VLLM_HERE", "generic://")
    with pytest.raises(SetupError, match="has no host"):
        configuration.AirflowConnections().endpoint("vllm_here")


def test_a_missing_connection_is_said_in_a_task_too(released: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="airflow connections add vllm_there"):
        configuration.AirflowConnections().endpoint("vllm_there")
    monkeypatch.delenv("AIRFLOW_CONN_VLLM_TEST")
    found = states(released.run("tune"))
    # Before anything is paid for.
    assert (found["freeze_spec"], found["approve_cost"], found["decide"]) == (
        "failed",
        "upstream_failed",
        "upstream_failed",
    )


def test_options_come_from_airflow_then_from_the_environment_then_from_the_dags_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("airflow", "environment", "neighbour"):
        (tmp_path / name / "include" / "pipelines").mkdir(parents=True)
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "neighbour" / "dags"))
    monkeypatch.delenv("RETUNE_PROJECT", raising=False)
    assert configuration.settings().project == tmp_path / "neighbour"
    monkeypatch.setenv("RETUNE_PROJECT", str(tmp_path / "environment"))
    assert configuration.settings().project == tmp_path / "environment"
    monkeypatch.setenv("AIRFLOW__RETUNE__PROJECT", str(tmp_path / "airflow"))
    assert configuration.settings().project == tmp_path / "airflow"
    monkeypatch.setenv("AIRFLOW__RETUNE__STATE_URL", "sqlite:////elsewhere.db")
    assert configuration.database().url == "sqlite:////elsewhere.db"


def test_every_setting_is_an_option_of_airflows_configuration() -> None:
    options = get_provider_info()["config"]["retune"]["options"]
    assert set(options) == set(Settings.__dataclass_fields__)
