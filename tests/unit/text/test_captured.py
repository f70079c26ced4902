"""The window: the newest answered requests of a release, without reading all history."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from retune.errors import DataError
from retune.records import Exchange
from retune.text.captured import read_window
from retune.text.traffic import dump, exchange_path

START = datetime(2026, 11, 3, 23, 0, tzinfo=UTC)


@pytest.fixture(params=["file", "memory"])
def captured_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return tmp_path.as_uri() if request.param == "file" else f"memory://{uuid.uuid4().hex}"


def exchange(minutes: float, release: int = 1, answer: str = "billing", status: int = 200) -> Exchange:
    return Exchange(
        at=START + timedelta(minutes=minutes),
        pipeline="tickets",
        alias="tickets",
        release=release,
        model_digest="sha256:" + "0" * 64,
        prompt=f"request of minute {minutes}",
        answer=answer,
        status=status,
        latency_ms=10.0,
    )


def put(url: str, exchanges: list[Exchange], agent: str = "a", tail: bytes = b"") -> str:
    written = max(item.at for item in exchanges)
    path = exchange_path("tickets", written, agent, int(written.timestamp() * 1e9))
    files, root = fsspec.url_to_fs(url)
    files.makedirs(f"{root}/{path.rsplit('/', 1)[0]}", exist_ok=True)
    files.pipe_file(f"{root}/{path}", dump(exchanges) + tail)
    return path


def minutes(window: list[Exchange]) -> list[float]:
    return [(item.at - START).total_seconds() / 60 for item in window]


def test_nothing_captured_is_an_empty_window(captured_url: str) -> None:
    assert read_window(captured_url, "tickets", 1, START, 10) == []


def test_the_newest_requests_of_several_agents_across_midnight(captured_url: str) -> None:
    put(captured_url, [exchange(10), exchange(50)], "a")
    put(captured_url, [exchange(55), exchange(70)], "a")  # shipped after midnight, begun before it
    put(captured_url, [exchange(20), exchange(58)], "b")
    put(captured_url, [exchange(65)], "b")
    assert minutes(read_window(captured_url, "tickets", 1, START, 5)) == [50, 55, 58, 65, 70]
    assert minutes(read_window(captured_url, "tickets", None, START, 100)) == [10, 20, 50, 55, 58, 65, 70]
    since = START + timedelta(minutes=55)
    assert minutes(read_window(captured_url, "tickets", 1, since, 100)) == [55, 58, 65, 70]


def test_only_answers_of_the_release_count(captured_url: str) -> None:
    put(captured_url, [exchange(1), exchange(2, release=2), exchange(3, answer=""), exchange(4, status=503)])
    assert minutes(read_window(captured_url, "tickets", 1, START, 10)) == [1]
    assert minutes(read_window(captured_url, "tickets", 2, START, 10)) == [2]


def test_history_that_cannot_matter_is_not_read(captured_url: str) -> None:
    put(captured_url, [exchange(-2000)], tail=b"unreadable\n")  # before `since`
    put(captured_url, [exchange(5)], tail=b"unreadable\n")  # older than a full window
    put(captured_url, [exchange(70), exchange(80)])
    assert minutes(read_window(captured_url, "tickets", 1, START, 2)) == [70, 80]
    with pytest.raises(DataError):
        read_window(captured_url, "tickets", 1, START, 3)


def test_a_bad_line_is_named_and_a_torn_one_is_left_out(captured_url: str) -> None:
    put(captured_url, [exchange(70)], tail=b'{"at": "2026')
    assert minutes(read_window(captured_url, "tickets", 1, START, 10)) == [70]
    path = put(captured_url, [exchange(71)], tail=b"{}\n")
    with pytest.raises(DataError) as caught:
        read_window(captured_url, "tickets", 1, START, 10)
    assert caught.value.problems[0].file.endswith(path)
    assert caught.value.problems[0].line == 2


def test_unfinished_and_foreign_files_are_not_read(captured_url: str) -> None:
    path = put(captured_url, [exchange(70)])
    files, root = fsspec.url_to_fs(captured_url)
    files.pipe_file(f"{root}/{path}.partial", b"half")
    files.makedirs(f"{root}/tickets/scratch", exist_ok=True)
    files.pipe_file(f"{root}/tickets/scratch/a-1.jsonl", b"half\n")
    assert minutes(read_window(captured_url, "tickets", 1, START, 10)) == [70]
