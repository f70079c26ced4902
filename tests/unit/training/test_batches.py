"""Rows are packed whole, each once, and no pack is too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retune.training.batches import pack

LENGTHS = st.lists(st.integers(min_value=1, max_value=100), min_size=1, max_size=60)


@given(lengths=LENGTHS, seed=st.integers(min_value=0, max_value=99))
def test_each_row_is_in_one_pack_that_is_not_too_long(lengths: list[int], seed: int) -> None:
    packs = pack([(row,) for row in range(len(lengths))], lengths, 100, seed)
    assert sorted(row for one in packs for row in one) == list(range(len(lengths)))
    sizes = [sum(lengths[row] for row in one) for one in packs]
    assert max(sizes) <= 100
    # Two packs that would fit into one would have been one.
    assert all(first + second > 100 for i, first in enumerate(sizes) for second in sizes[:i])
    assert pack([(row,) for row in range(len(lengths))], lengths, 100, seed) == packs


@given(lengths=LENGTHS)
def test_pairs_stay_together(lengths: list[int]) -> None:
    pairs = [(2 * number, 2 * number + 1) for number in range(len(lengths))]
    packs = pack(pairs, [length for length in lengths for _ in range(2)], 200, seed=1)
    for one in packs:
        assert [row + 1 for row in one[::2]] == list(one[1::2])
        assert all(row % 2 == 0 for row in one[::2])


def test_short_rows_fill_what_long_ones_leave() -> None:
    packs = pack([(row,) for row in range(4)], [60, 60, 40, 40], 100, seed=7)
    assert sorted(sorted(60 if row < 2 else 40 for row in one) for one in packs) == [[40, 60], [40, 60]]
