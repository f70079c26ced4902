"""What an emulator remembers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retune.testing.emulators.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


def ids(store: Store, now: float = 100.0, **given: object) -> list[str]:
    return [entry.id for entry in store.page("job", now, limit=10, **given).entries]  # type: ignore[arg-type]


def test_another_process_reads_what_was_written(store: Store, tmp_path: Path) -> None:
    store.add("job", "a", {"x": "ü"}, at=1, labels={"key": "k"}, job=True)
    store.add_event("a", "e", {"m": 1}, 2)
    store.bill("a", 5, 3)
    store.write_file("f", b"bytes")
    store.set_fired("r", 2, 1)
    store.add_problem("broken")
    other = Store(tmp_path)
    found = other.get("job", "a", 1)
    assert found and found.body == {"x": "ü"}
    assert [event.body for event in other.events("a")] == [{"m": 1}]
    assert (other.bills(), other.creations()) == ({"a": 5.0}, {"a": {"key": "k"}})
    assert (other.read_file("f"), other.fired("r"), other.problems()) == (b"bytes", (2, 1), ["broken"])
    other.close()


def test_an_object_exists_and_is_listed_from_its_times_on(store: Store) -> None:
    store.add("job", "late", {}, at=10, visible_at=20)
    assert store.get("job", "late", 9.9) is None
    assert store.get("job", "late", 10) and ids(store, 19.9) == []
    assert ids(store, 20) == ["late"]
    assert [entry.id for entry in store.all("job")] == ["late"]


def test_pages_follow_creation_also_where_a_late_one_was_stored_first(store: Store) -> None:
    store.add("job", "late", {}, at=30)
    for number in range(4):
        store.add("job", str(number), {}, at=10)
    assert ids(store) == ["late", "3", "2", "1", "0"]
    assert ids(store, newest_first=False) == ["0", "1", "2", "3", "late"]
    page = store.page("job", 100, limit=2, after=store.get("job", "3", 100))
    assert [entry.id for entry in page.entries] == ["2", "1"] and page.has_more
    last = store.page("job", 100, limit=2, after=page.entries[-1])
    assert [entry.id for entry in last.entries] == ["0"] and not last.has_more


def test_labels_filter_all_at_once_or_not_at_all(store: Store) -> None:
    store.add("job", "both", {}, at=1, labels={"a": "1", "b": "2"})
    store.add("job", "one", {}, at=2, labels={"a": "1"})
    store.add("job", "none", {}, at=3)
    assert ids(store, labels={"a": "1"}) == ["one", "both"]
    assert ids(store, labels={"a": "1", "b": "2"}) == ["both"]
    assert ids(store, labels={"a": "2"}) == []
    assert ids(store, unlabelled=True) == ["none"]


def test_a_transaction_is_done_whole_or_not_at_all(store: Store) -> None:
    with pytest.raises(ValueError), store.transaction():
        store.add("job", "a", {}, at=1, job=True)
        store.bill("a", 1, 1)
        raise ValueError
    assert (ids(store), store.creations(), store.bills()) == ([], {}, {})


def test_a_bill_and_an_event_count_once(store: Store) -> None:
    store.bill("a", 5, 1)
    store.bill("a", 7, 2)
    store.add_event("a", "e", {"first": True}, 1)
    store.add_event("a", "e", {"first": False}, 2)
    assert store.bills() == {"a": 5.0}
    assert [event.body for event in store.events("a")] == [{"first": True}]


def test_a_removed_job_stays_counted(store: Store) -> None:
    store.add("job", "a", {}, at=1, job=True)
    store.remove("job", "a")
    assert (ids(store), list(store.creations())) == ([], ["a"])
