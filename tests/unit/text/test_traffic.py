"""Captured traffic: what is written is what is read, and damage is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import DataError
from retune.records import Exchange
from retune.text.traffic import dump, exchange_path, folder_day, load, written_at

AT = datetime(2026, 11, 3, 23, 30, tzinfo=UTC)


def exchange(prompt: str = "where is my parcel?", answer: str = "shipping") -> Exchange:
    return Exchange(
        at=AT,
        pipeline="support-tickets",
        alias="support-tickets",
        release=1,
        model_digest="sha256:" + "0" * 64,
        prompt=prompt,
        answer=answer,
        status=200,
        latency_ms=12.5,
    )


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_any_text_is_read_back_as_it_was_written(pairs: list[tuple[str, str]]) -> None:
    exchanges = [exchange(prompt, answer) for prompt, answer in pairs]
    assert load(dump(exchanges), "a.jsonl") == exchanges


def test_half_a_surrogate_pair_does_not_stop_the_capture() -> None:
    [read] = load(dump([exchange("a\ud800b")]), "a.jsonl")
    assert read.prompt == "a?b"


@given(st.integers(min_value=1))
def test_a_line_cut_off_anywhere_loses_only_itself(cut: int) -> None:
    whole, torn = dump([exchange()]), dump([exchange("zweite Zeile: äöü €")])[:-1]
    kept = cut % len(torn)  # at least the closing brace is gone
    assert load(whole + torn[:kept], "a.jsonl") == [exchange()]


def test_every_other_bad_line_is_named_with_file_and_line() -> None:
    good = dump([exchange()])
    naive = good.replace(b"2026-11-03T23:30:00Z", b"2026-11-03T23:30:00")
    with pytest.raises(DataError) as caught:
        load(good + b"{broken\n" + good + b'{"at": 1}\n\xff\xfe\n' + naive, "day/a.jsonl")
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [
        ("day/a.jsonl", 2),
        ("day/a.jsonl", 4),
        ("day/a.jsonl", 5),
        ("day/a.jsonl", 6),
    ]


def test_the_path_names_day_and_moment_in_utc() -> None:
    local = (AT + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-8)))
    sequence = int(local.timestamp()) * 10**9
    path = exchange_path("support-tickets", local, "host-1:9/../x", sequence)
    assert path == f"support-tickets/2026-11-04/host-1_9_.._x-{sequence:020d}.jsonl"
    assert written_at(path) == local
    assert folder_day("support-tickets/2026-11-04") == local.astimezone(UTC).date()


@pytest.mark.parametrize("name", [".a-1.jsonl", "a-1.jsonl.partial", "a.jsonl", "a-1.txt", "-.jsonl"])
def test_other_files_are_no_traffic(name: str) -> None:
    assert written_at(f"support-tickets/2026-11-04/{name}") is None


def test_other_folders_are_no_days() -> None:
    assert folder_day("support-tickets/tmp") is None
