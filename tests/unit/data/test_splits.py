from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from retune.data.drops import Drops
from retune.data.splits import assign_sides
from retune.spec import SplitShares
from tests.unit.data.builders import example, table

SHARES = SplitShares(validation=0.1, held_out=0.2)


def rows(counts: dict[str, int], start: int = 0) -> list[dict[str, Any]]:
    return [
        example(f"{label} {number}", label)
        for label, count in counts.items()
        for number in range(start, start + count)
    ]


def split(
    given: list[dict[str, Any]],
    earlier: Mapping[str, str] | None = None,
    links: list[tuple[str, str]] | None = None,
    shares: SplitShares = SHARES,
    seed: int = 7,
    drops: Drops | None = None,
) -> dict[str, str]:
    """Return fingerprint -> side; links are pairs of fingerprints."""
    frame = table(given)
    place = {name: row for row, name in enumerate(frame["fingerprint"])}
    pairs = np.array([(place[a], place[b]) for a, b in links or []], dtype=np.int64).reshape(-1, 2)
    placed = assign_sides(frame, pairs, earlier or {}, shares, seed, drops or Drops())
    return dict(placed.select("fingerprint", "side").iter_rows())


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 60), min_size=1), st.integers(0, 99))
def test_each_label_is_split_in_the_given_shares(counts: dict[str, int], seed: int) -> None:
    given = rows(counts)
    sides = split(given, seed=seed)
    for label, count in counts.items():
        found = Counter(sides[row["fingerprint"]] for row in given if row["label"] == label)
        for side, share in (("train", 0.7), ("validation", 0.1), ("held_out", 0.2)):
            assert abs(found[side] - share * count) <= 1, (label, side)


def test_a_label_of_two_is_trained_on_and_judged() -> None:
    assert sorted(split(rows({"a": 2})).values()) == ["held_out", "train"]


def test_another_seed_is_another_split() -> None:
    assert split(rows({"a": 50}), seed=1) != split(rows({"a": 50}), seed=2)


@given(st.integers(1, 60), st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_later_rows_never_move_an_earlier_one(first: int, more: int, gone: set[int]) -> None:
    before = split(rows({"a": first, "b": 5}))
    later = [row for number, row in enumerate(rows({"a": first})) if number not in gone]
    later += rows({"a": more, "c": more}, start=first)
    after = split(later, before)
    assert set(after) == {row["fingerprint"] for row in later}
    assert all(after[name] == side for name, side in before.items() if name in after)


def test_shares_hold_after_rows_were_added() -> None:
    first, more = rows({"a": 100}), rows({"a": 60}, start=100)
    sides = split(first + more, split(first))
    assert Counter(sides.values()) == {"train": 112, "held_out": 32, "validation": 16}


LINKS = st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=60)


@given(LINKS, LINKS, st.integers(20, 50))
def test_linked_rows_share_a_side_and_nobody_moves(
    some: list[tuple[int, int]], more: list[tuple[int, int]], old: int
) -> None:
    given = rows({"a": 60})
    name = [row["fingerprint"] for row in given]
    known = set(name[:old])
    first = [(name[a], name[b]) for a, b in some if a < old and b < old]
    before = split(given[:old], links=first)
    assert all(before[a] == before[b] for a, b in first)
    drops = Drops()
    later = [(name[a], name[b]) for a, b in [*some, *more]]
    after = split(given, before, later, drops=drops)
    left_out = set(drops.frame["fingerprint"]) if drops.frame.height else set()
    assert set(after) == set(name) - left_out
    assert all(after[row] == before[row] for row in known - left_out)
    for a, b in later:
        if a in after and b in after:
            assert after[a] == after[b]


def test_what_joins_two_sides_is_left_out_and_the_rest_stays() -> None:
    given = rows({"a": 8})
    name = [row["fingerprint"] for row in given]
    before = {name[0]: "train", name[1]: "train", name[2]: "held_out"}
    drops = Drops()
    links = [
        (name[0], name[3]),
        (name[1], name[4]),
        (name[3], name[4]),
        (name[4], name[5]),
        (name[5], name[2]),
    ]
    after = split(given, before, links, drops=drops)
    assert (after[name[3]], after[name[4]]) == ("train", "train")
    assert drops.frame["fingerprint"].to_list() == [name[5]]
    assert drops.frame["reason"].to_list() == ["bridges_split"]


def test_a_group_that_is_named_later_is_not_learned_from_where_it_is_judged() -> None:
    given = rows({"a": 4})
    name = [row["fingerprint"] for row in given]
    before = dict(zip(name, ["train", "held_out", "validation", "train"], strict=True))
    drops = Drops()
    after = split(given, before, [(name[0], name[1]), (name[1], name[2])], drops=drops)
    assert after == {name[1]: "held_out", name[3]: "train"}
    assert set(drops.frame["fingerprint"]) == {name[0], name[2]}


def test_by_time_the_newest_are_held_out() -> None:
    shares = SplitShares(validation=0.1, held_out=0.2, by_time="at")
    given = [example(f"q {n}", "ab"[n % 2], time=float(n)) for n in range(100)]
    sides = split(given, shares=shares)
    times = defaultdict(list)
    for row in given:
        times[sides[row["fingerprint"]]].append(row["time"])
    assert [len(times[side]) for side in ("train", "validation", "held_out")] == [70, 10, 20]
    assert max(times["train"]) < min(times["validation"]) < max(times["validation"]) < min(times["held_out"])
    later = [example(f"q {n}", "ab"[n % 2], time=float(n)) for n in range(100, 200)]
    after = split([*given, *later], sides, shares=shares)
    assert all(after[name] == side for name, side in sides.items())
    assert Counter(after.values()) == {"train": 140, "held_out": 40, "validation": 20}


def test_strata_of_a_column_are_split_alike() -> None:
    given = [example(f"q {n}", "ab"[n % 2], stratum="xyzw"[n % 4]) for n in range(200)]
    sides = split(given)
    for stratum in "xyzw":
        found = Counter(sides[row["fingerprint"]] for row in given if row["stratum"] == stratum)
        assert found == {"train": 35, "validation": 5, "held_out": 10}


def test_nothing_is_split_into_nothing() -> None:
    assert split([]) == {}


def test_the_result_is_a_table_with_its_sides() -> None:
    frame = table(rows({"a": 10}))
    placed = assign_sides(frame, np.zeros((0, 2), dtype=np.int64), {}, SHARES, 7, Drops())
    assert placed.drop("side").equals(frame)
    assert placed.schema["side"] == pl.String
