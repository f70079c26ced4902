"""The part of Cloud Storage that tuning needs, by the real google-cloud-storage."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, PreconditionFailed
from google.cloud import storage
from google.oauth2.credentials import Credentials

from retune.testing.emulators.process import Running
from tests.contract.emulators.vertex_client import BUCKET, PROJECT, TOKEN, gcs, vertex


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with vertex(tmp_path_factory.mktemp("vertex")) as found:
        yield found


def test_an_upload_comes_back_with_the_digests_of_its_bytes(emulator: Running) -> None:
    data, bucket = os.urandom(100_000), gcs(emulator).bucket(BUCKET)
    blob = bucket.blob("a folder/ä:b?.jsonl")
    blob.metadata = {"of": "retune"}
    blob.upload_from_string(data, content_type="application/jsonl", if_generation_match=0)
    found = bucket.get_blob("a folder/ä:b?.jsonl")
    assert (found.size, found.content_type, found.metadata) == (
        100_000,
        "application/jsonl",
        {"of": "retune"},
    )
    assert found.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert found.crc32c == base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    assert found.download_as_bytes() == data
    assert found.download_as_bytes(start=10, end=19) == data[10:20]


def test_a_large_file_goes_up_in_pieces(emulator: Running, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(8 * 1024 * 1024 + 17))
    blob = gcs(emulator).bucket(BUCKET).blob("large.bin", chunk_size=4 * 1024 * 1024)
    blob.upload_from_filename(str(path))
    blob.reload()
    assert blob.size == path.stat().st_size
    assert emulator.counts()["PUT /upload/storage/v1/b/{bucket}/o"] == 3
    copy = tmp_path / "copy.bin"
    blob.download_to_filename(str(copy))
    assert copy.read_bytes() == path.read_bytes()


def test_a_generation_that_is_not_the_wanted_one_is_refused(emulator: Running) -> None:
    blob = gcs(emulator).bucket(BUCKET).blob("generation.txt")
    blob.upload_from_string("one", if_generation_match=0)
    first = blob.generation
    with pytest.raises(PreconditionFailed):
        blob.upload_from_string("two", if_generation_match=0)
    blob.upload_from_string("three", if_generation_match=first)
    assert blob.generation != first
    assert blob.download_as_bytes() == b"three"
    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=first)


def test_objects_are_listed_by_prefix_and_deleted(emulator: Running) -> None:
    client = gcs(emulator)
    bucket = client.bucket(BUCKET)
    for name in ("list/b", "list/a", "other/a", "list/c"):
        bucket.blob(name).upload_from_string("x")
    assert [blob.name for blob in client.list_blobs(BUCKET, prefix="list/", page_size=2)] == [
        "list/a",
        "list/b",
        "list/c",
    ]
    by_folder = client.list_blobs(BUCKET, prefix="list", delimiter="/")
    assert ([blob.name for blob in by_folder], by_folder.prefixes) == ([], {"list/"})
    top = client.list_blobs(BUCKET, prefix="list/", delimiter="/")
    assert ([blob.name for blob in top], top.prefixes) == (["list/a", "list/b", "list/c"], set())
    bucket.blob("list/b").delete()
    assert [blob.name for blob in client.list_blobs(BUCKET, prefix="list/")] == ["list/a", "list/c"]
    with pytest.raises(NotFound):
        bucket.blob("list/b").download_as_bytes()
    with pytest.raises(NotFound):
        bucket.blob("list/b").delete()


def test_buckets_are_there_or_not_or_closed(emulator: Running) -> None:
    client = gcs(emulator)
    assert client.get_bucket(BUCKET).project_number
    with pytest.raises(Conflict):
        client.create_bucket(BUCKET)
    with pytest.raises(NotFound):
        client.get_bucket("nowhere")
    with pytest.raises(NotFound):
        client.bucket("nowhere").blob("x").upload_from_string("x")
    closed = client.bucket("closed")
    closed.labels = {"retune-denies": "caller"}
    closed.create()
    for act in (closed.reload, lambda: closed.blob("x").upload_from_string("x")):
        with pytest.raises(Forbidden):
            act()


def test_bytes_that_do_not_match_their_checksum_are_refused(emulator: Running) -> None:
    blob = gcs(emulator).bucket(BUCKET).blob("wrong.txt")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(BadRequest, match="CRC32C"):
        blob.upload_from_string("not that", checksum=None)
    assert not blob.exists()


def test_the_variable_of_the_storage_client_reaches_it_too(
    emulator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    client = storage.Client(PROJECT, Credentials(token=TOKEN))
    client.bucket(BUCKET).blob("by-variable").upload_from_string("x")
    assert client.bucket(BUCKET).blob("by-variable").exists()
