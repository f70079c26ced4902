"""Sources that an Airflow connection opens."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from retune.airflow.configuration import AirflowFileSystems
from retune.data.sources import find_sources
from retune.errors import DataError
from retune.settings import Settings

GOOD = b'{"text": "where is it", "queue": "shipping"}\n'
HAS_S3 = all(find_spec(name) for name in ("s3fs", "moto", "airflow.providers")) and bool(
    find_spec("airflow.providers.amazon")
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"project": str(tmp_path)}.get)


@pytest.mark.skipif(not HAS_S3, reason="Airflow's Amazon provider, s3fs or moto is not installed")
def test_a_bucket_is_read_by_a_connection(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        files = s3fs.S3FileSystem(key="testing", secret="testing", endpoint_url=url)
        files.mkdir("connected")
        files.pipe_file("connected/a/1.jsonl", GOOD)
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "testing", "password": "hunter2", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MY_AWS", json.dumps(connection))
        (source,) = find_sources(("s3://my_aws@connected/a/*.jsonl",), settings, AirflowFileSystems())
        assert source.name == "s3://my_aws@connected/a/1.jsonl"
        assert b"".join(source.stream(print)) == GOOD
    finally:
        server.stop()


@pytest.mark.skipif(bool(find_spec("adlfs")), reason="adlfs is installed")
def test_a_provider_that_is_missing_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MY_AZURE", "wasb://")
    with pytest.raises(
        DataError, match="Airflow cannot open abfs:// by a connection: .* -> install"
    ) as caught:
        find_sources(("abfs://my_azure@box/a.csv",), settings, AirflowFileSystems())
    assert len(caught.value.problems) == 1


def test_without_a_connection_the_environment_is_asked(settings: Settings) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/here/a.jsonl", GOOD)
    (source,) = find_sources(("memory://here/*.jsonl",), settings, AirflowFileSystems())
    assert b"".join(source.stream(print)) == GOOD


def test_a_connection_that_is_missing_is_said(settings: Settings) -> None:
    # The provider's own hook would go on with whatever credentials it finds.
    with pytest.raises(DataError, match="there is no Airflow connection 'other' -> airflow connections add"):
        find_sources(("s3://other@rows/a/*.jsonl",), settings, AirflowFileSystems())
