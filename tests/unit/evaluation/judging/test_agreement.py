"""Agreement as scikit-learn and the literature have it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.evaluation.judging.agreement import agreement, among

WORDS = st.sampled_from(["first", "second", "tie"])


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=40))
def test_kappa_of_two_is_scikit_learns(both: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    said, meant = [one for one, _ in both], [two for _, two in both]
    found = agreement(said, meant, 0.95)
    assert found.share == sum(one == two for one, two in both) / len(both)
    assert 0 <= found.low <= found.share <= found.high <= 1
    expected = float("nan") if len({*said, *meant}) == 1 else cohen_kappa_score(said, meant)
    assert found.kappa == pytest.approx(expected) if math.isfinite(expected) else found.kappa is None


def test_kappa_of_many_is_fleiss_own() -> None:
    # The worked example of Fleiss' kappa on Wikipedia: 14 raters, 10 subjects, 5 categories.
    counts = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    ratings = [
        list("".join(word * times for word, times in zip("abcde", row, strict=True))) for row in counts
    ]
    assert among(ratings) == pytest.approx((0.378, 0.210), abs=5e-4)


def test_one_vote_agrees_with_nobody() -> None:
    assert among([["first"], [], ["tie"]]) == (None, None)


def test_where_all_say_the_same_chance_says_nothing() -> None:
    assert among([["first", "first"], ["first", "first"]]) == (1.0, None)


def test_kappa_takes_the_examples_that_most_have_seen() -> None:
    whole = [["first", "first", "tie"], ["second", "second", "second"], ["tie", "first", "tie"]]
    share, kappa = among([*whole, ["first", "second"]])
    assert kappa == among(whole)[1]
    assert share == pytest.approx((2 + 6 + 2 + 0) / (6 + 6 + 6 + 2))
