from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from retune.data.splits import assign_sides
from retune.spec import SplitShares
from retune.text.conversations import Conversation, conversation

SHARES = SplitShares(validation=0.1, held_out=0.2)


def rows(counts: dict[str, int], start: int = 0) -> list[Conversation]:
    return [
        conversation("", f"{label} {number}", label)
        for label, count in counts.items()
        for number in range(start, start + count)
    ]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 60), min_size=1), st.integers(0, 99))
def test_each_label_is_split_in_the_given_shares(counts: dict[str, int], seed: int) -> None:
    given = rows(counts)
    sides = assign_sides(given, {}, SHARES, seed)
    for label, count in counts.items():
        found = Counter(sides[row.fingerprint] for row in given if row.completion == label)
        for side, share in (("train", 0.7), ("validation", 0.1), ("held_out", 0.2)):
            assert abs(found[side] - share * count) <= 1, (label, side)


def test_a_label_of_two_is_trained_on_and_judged() -> None:
    assert sorted(assign_sides(rows({"a": 2}), {}, SHARES, 7).values()) == ["held_out", "train"]


@given(st.permutations(rows({"a": 20, "b": 9})))
def test_the_order_of_rows_does_not_matter(shuffled: list[Conversation]) -> None:
    assert assign_sides(shuffled, {}, SHARES, 7) == assign_sides(rows({"a": 20, "b": 9}), {}, SHARES, 7)


def test_another_seed_is_another_split() -> None:
    given = rows({"a": 50})
    assert assign_sides(given, {}, SHARES, 1) != assign_sides(given, {}, SHARES, 2)


@given(st.integers(1, 60), st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_later_rows_never_move_an_earlier_one(first: int, more: int, gone: set[int]) -> None:
    before = assign_sides(rows({"a": first, "b": 5}), {}, SHARES, 7)
    later = [row for number, row in enumerate(rows({"a": first})) if number not in gone]
    later += rows({"a": more, "c": more}, start=first)
    after = assign_sides(later, before, SHARES, 7)
    assert set(after) == {row.fingerprint for row in later}
    assert all(after[name] == side for name, side in before.items() if name in after)


def test_shares_hold_after_rows_were_added() -> None:
    first, more = rows({"a": 100}), rows({"a": 60}, start=100)
    earlier = assign_sides(first, {}, SHARES, 7)
    sides = assign_sides(first + more, earlier, SHARES, 7)
    assert Counter(sides.values()) == {"train": 112, "held_out": 32, "validation": 16}


def test_a_relabelled_row_stays_on_its_side() -> None:
    before = assign_sides(rows({"a": 30}), {}, SHARES, 7)
    relabelled = [conversation("", row.prompt, "b") for row in rows({"a": 30})]
    assert assign_sides(relabelled, before, SHARES, 7) == before
