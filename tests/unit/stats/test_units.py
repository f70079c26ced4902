"""Examples become independent units, whatever their order."""

from __future__ import annotations

import random

import pytest

from retune.stats.units import units


def test_single_answers_make_three_kinds_of_units() -> None:
    found = units([1, 0, -1, 0, 1, 0])
    assert found.sums.tolist() == [-1, 0, 1]
    assert found.counts.tolist() == [1, 3, 2]
    assert (found.n, found.largest, found.mean) == (6, 1, pytest.approx(1 / 6))


def test_an_example_without_a_group_stands_alone() -> None:
    found = units([1, 1, -1, -1], ["anna", "anna", "", ""])
    assert sorted(zip(found.sums, found.sizes, found.counts, strict=True)) == [(-1, 1, 2), (2, 2, 1)]
    assert (found.n, found.largest, found.mean) == (4, 2, 0)


def test_graded_sums_do_not_depend_on_the_order() -> None:
    pairs = [(value / 7, f"group {value % 3}") for value in range(-6, 7)]
    forth = units(*map(list, zip(*pairs, strict=True)))
    random.Random(5).shuffle(pairs)
    back = units(*map(list, zip(*pairs, strict=True)))
    assert forth.sums.tolist() == back.sums.tolist()
    assert forth.sizes.tolist() == back.sizes.tolist()


@pytest.mark.parametrize(
    ("differences", "groups", "message"),
    [
        ([], None, "no examples"),
        ([0.5, 1.5], None, "1 differences are not from -1 to 1, such as 1.5"),
        ([float("nan")], None, "not from -1 to 1, such as nan"),
        ([0, 1], ["anna"], "1 groups for 2 differences"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    differences: list[float], groups: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        units(differences, groups)
