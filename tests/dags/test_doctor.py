"""`retune doctor` beside a real Airflow, which its own command line asks."""

from __future__ import annotations

import json

import pytest

from retune import doctor, pools
from retune.doctor import Finding
from retune.settings import Settings
from tests.unit.test_doctor import only, server, settings

__all__ = ["server", "settings"]


@pytest.fixture
def airflow(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Airflow with a home, whose database was never made; connections come from the environment."""
    home = settings.project / "airflow"
    home.mkdir()
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home / 'airflow.db'}")


def test_where_there_is_airflow_its_connection_counts(
    airflow: None, settings: Settings, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETUNE_ENDPOINT_VLLM", server)
    missing = only(doctor.look_at_endpoints(settings))
    assert (missing.level, missing.what) == ("warn", "Airflow has no connection 'vllm' with a host")
    assert "airflow connections add vllm" in missing.action
    connection = {"conn_type": "generic", "host": server, "password": "s3cret"}
    monkeypatch.setenv("AIRFLOW_CONN_VLLM", json.dumps(connection))
    assert only(doctor.look_at_endpoints(settings)) == Finding("endpoint", "ok", f"vllm, {server}")
    monkeypatch.setenv("AIRFLOW_CONN_VLLM", server.replace("://", "://:s3cret@"))
    assert only(doctor.look_at_endpoints(settings)) == Finding("endpoint", "ok", f"vllm, {server}")


def test_an_airflow_that_does_not_answer_is_one_clear_line(
    airflow: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_TIMEOUT_S", 0.01)
    for look in (doctor.look_at_pool, doctor.look_at_endpoints):
        found = only(look(settings))
        assert "did not answer in 0.01 s" in found.what and "airflow db check" in found.action
