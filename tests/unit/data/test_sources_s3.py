"""Sources in S3, as moto's server speaks it."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retune.data.sources import Source, find_sources
from retune.errors import DataError
from retune.settings import EnvironmentFileSystems, Settings

pytest.importorskip("s3fs", reason="s3fs is not installed")
moto = pytest.importorskip("moto.server", reason="moto's server is not installed")

GOOD = b'{"text": "where is it", "queue": "shipping"}\n' * 1_000
FILES = {"a/1.jsonl.gz": gzip.compress(GOOD), "a/2.jsonl": GOOD, "a/deep/3.csv": b"x,y\n1,2\n"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    import s3fs

    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    files = s3fs.S3FileSystem(key="testing", secret="testing", endpoint_url=url, skip_instance_cache=True)
    files.mkdir("rows")
    for name, data in FILES.items():
        files.pipe_file(f"rows/{name}", data)
    yield url
    server.stop()


@pytest.fixture
def find(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    settings = Settings.load({"project": str(tmp_path)}.get)
    yield lambda *urls: find_sources(urls, settings, EnvironmentFileSystems())
    s3fs.S3FileSystem.clear_instance_cache()


def read(source: Source) -> bytes:
    return b"".join(source.stream(print))


def test_files_of_a_bucket(find: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    found = find("s3://rows/a/*.jsonl*", "s3://rows/**/*.csv", "s3://rows/a/2.jsonl")
    assert [(source.name, source.compression, source.size) for source in found] == [
        ("s3://rows/a/1.jsonl.gz", "gzip", len(FILES["a/1.jsonl.gz"])),
        ("s3://rows/a/2.jsonl", "", len(GOOD)),
        ("s3://rows/a/deep/3.csv", "", 8),
    ]
    assert [read(source) for source in found] == [GOOD, GOOD, FILES["a/deep/3.csv"]]
    assert read(pickle.loads(pickle.dumps(found[0]))) == GOOD
    with pytest.raises(DataError, match="no file 's3://rows/gone.csv' -> check the URL"):
        find("s3://rows/gone.csv")
    with pytest.raises(DataError, match="no file matches s3://rows/none/"):
        find("s3://rows/none/*.csv")
    with pytest.raises(DataError, match="s3://no-such-bucket"):
        find("s3://no-such-bucket/*.csv", "s3://no-such-bucket/a.csv")


def test_credentials_before_the_bucket_are_used_and_not_shown(
    find: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    # None here but those of the URL, not even the machine's own.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    (source,) = find("s3://someone:hunter2%2F3@rows/a/1.jsonl.gz")
    assert source.name == "s3://***@rows/a/1.jsonl.gz"
    assert read(source) == GOOD
    with pytest.raises(DataError) as caught:
        find("s3://someone:hunter2%2F3@rows/gone.csv", "s3://someone:hunter2%2F3@no-such-bucket/*.csv")
    for text in (str(caught.value), repr(source)):
        assert "hunter2" not in text and "someone" not in text
