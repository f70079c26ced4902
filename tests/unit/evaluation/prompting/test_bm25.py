"""Texts are ranked by the words that they share with a question, always in the same order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.evaluation.prompting.bm25 import Bm25, highest, words

TEXTS = ["refund of a parcel", "the invoice is wrong", "my parcel is lost", "", "the Invoice, is WRONG!"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("where is my lost parcel", [2, 0]),
        ("INVOICE?", [1, 4]),
        ("nothing of this kind stands there", [0, 1]),
        ("", [0, 1]),
        ("?!", [0, 1]),
    ],
)
def test_the_best_come_first_and_equals_in_their_order(question: str, expected: list[int]) -> None:
    assert Bm25(TEXTS).best(question, 2) == expected


def test_texts_without_words_are_ranked_in_their_order() -> None:
    assert Bm25(["", "?", "..."]).best("a parcel", 5) == [0, 1, 2]
    assert Bm25([]).best("a parcel", 5) == []


def test_scripts_without_spaces_have_words() -> None:
    assert words("退款 ok") == ["退", "款", "ok"]
    assert Bm25(["我的包裹丢了", "请开发票", "重置密码"]).best("发票金额不对", 1) == [1]


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=30), st.integers(0, 12))
def test_fewer_are_the_beginning_of_more(texts: list[str], question: str, count: int) -> None:
    ranking = Bm25(texts)
    everything = ranking.best(question, len(texts))
    assert sorted(everything) == list(range(len(texts)))
    if count:
        assert ranking.best(question, count) == everything[:count]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 30))
def test_the_highest_are_those_of_a_stable_sort(scores: list[int], count: int) -> None:
    expected = sorted(range(len(scores)), key=lambda place: -scores[place])[:count]
    assert highest(np.array(scores, dtype=np.float32), count) == expected
