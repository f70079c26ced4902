"""Faults by script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import SetupError
from retune.testing.emulators import faults
from retune.testing.emulators.faults import Faults
from retune.testing.emulators.store import Store

CREATE = ("POST", "/v1/jobs", "/v1/jobs")


def fired(store: Store, times: int, call: tuple[str, str, str] = CREATE) -> list[str]:
    """What a rule did at each of some requests; `-` where none fired."""
    faults_now = Faults(store)
    rules = [faults_now.next(*call) for _ in range(times)]
    return [rule.do if rule else "-" for rule in rules]


def test_a_rule_skips_then_fires_then_is_spent(tmp_path: Path) -> None:
    store = Store(tmp_path)
    faults.write(tmp_path, [{"on": "POST /v1/jobs", "skip": 2, "times": 2, "do": "hang"}])
    assert fired(store, 6) == ["-", "-", "hang", "hang", "-", "-"]


def test_a_rule_without_an_end_fires_for_ever(tmp_path: Path) -> None:
    faults.write(tmp_path, [{"on": "POST /v1/jobs", "times": None, "do": "error"}])
    assert fired(Store(tmp_path), 5) == ["error"] * 5


def test_what_has_fired_is_remembered_and_forgotten_with_new_rules(tmp_path: Path) -> None:
    rule = {"on": "POST /v1/jobs", "do": "hang"}
    faults.write(tmp_path, [rule])
    assert fired(Store(tmp_path), 1) == ["hang"]
    assert fired(Store(tmp_path), 1) == ["-"]
    faults.write(tmp_path, [rule])
    assert fired(Store(tmp_path), 2) == ["hang", "-"]


def test_rules_written_by_hand_are_known_by_what_they_say(tmp_path: Path) -> None:
    store = Store(tmp_path)
    text = '[{"on": "POST /v1/jobs", "do": "hang"}, {"on": "POST /v1/jobs", "do": "hang"}]'
    (tmp_path / "faults.json").write_text(text)
    assert fired(store, 3) == ["hang", "hang", "-"]
    (tmp_path / "faults.json").write_text(text + "\n")
    assert fired(store, 1) == ["-"]


def test_the_first_of_several_rules_that_fires_counts(tmp_path: Path) -> None:
    rules = [
        {"on": "POST /v1/jobs", "skip": 1, "do": "hang"},
        {"on": "POST *", "times": None, "do": "slow"},
    ]
    faults.write(tmp_path, rules)
    assert fired(Store(tmp_path), 3) == ["slow", "hang", "slow"]


@pytest.mark.parametrize(
    ("on", "matches"),
    [
        ("GET /v1/jobs/{id}", True),
        ("GET /v1/jobs/j1", True),
        ("GET /v1/jobs/*", True),
        ("* /v1/jobs/j1", True),
        ("POST /v1/jobs/{id}", False),
        ("GET /v1/jobs", False),
        ("GET /v1/jobs/{job}", False),
    ],
)
def test_a_rule_is_about_a_template_or_a_pattern(tmp_path: Path, on: str, matches: bool) -> None:
    faults.write(tmp_path, [{"on": on, "do": "hang"}])
    assert fired(Store(tmp_path), 1, ("GET", "/v1/jobs/j1", "/v1/jobs/{id}")) == ["hang" if matches else "-"]


def test_all_that_is_wrong_with_rules_is_said_together(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"on": "x", "do": "explode"},
        {"do": "hang"},
        {"on": "x", "do": "hang", "often": 3},
        {"on": "x", "do": "fail_job", "phase": "training"},
    ]
    with pytest.raises(SetupError) as caught:
        faults.write(tmp_path, rules)
    assert len(caught.value.problems) == 4
    assert not (tmp_path / "faults.json").exists()


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert fired(store, 1) == ["-"]
    faults.write(tmp_path, [{"on": "POST /v1/jobs", "do": "hang"}])
    seen = Faults(store)
    assert seen.next(*CREATE)
    (tmp_path / "faults.json").unlink()
    assert seen.next(*CREATE) is None


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("faults"))


@given(skip=st.integers(0, 5), times=st.integers(0, 5), requests=st.integers(0, 15))
def test_a_rule_fires_exactly_as_often_as_it_says(
    one_store: Store, skip: int, times: int, requests: int
) -> None:
    faults.write(one_store.folder, [{"on": "POST /v1/jobs", "skip": skip, "times": times, "do": "hang"}])
    assert fired(one_store, requests).count("hang") == max(0, min(times, requests - skip))
