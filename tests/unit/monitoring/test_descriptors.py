"""Figures about a request's text."""

from __future__ import annotations

import math
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from retune.monitoring.content import newness
from retune.monitoring.descriptors import Vocabulary, describe


@given(st.lists(st.text()), st.lists(st.text()))
def test_any_text_has_finite_figures(reference: list[str], texts: list[str]) -> None:
    for name, values in describe(texts, Vocabulary(reference)).items():
        assert len(values) == len(texts)
        assert all(math.isfinite(value) and value >= 0 for value in values), name


def test_a_text_of_the_reference_is_judged_by_the_others() -> None:
    vocabulary = Vocabulary(["my parcel is late", "my invoice is late", "my invoice is late"])
    assert vocabulary.unknown_percent("my parcel is late") == 25  # "parcel" is its own word only
    assert vocabulary.unknown_percent("my invoice is late") == 25  # a copy is no other text
    assert vocabulary.unknown_percent("MY PARCEL and invoice") == 25
    assert vocabulary.unknown_percent("") == 0


def test_other_alphabets_count() -> None:
    figures = describe(
        ["Где моя посылка? Жду!", "荷物はどこですか。"], Vocabulary(["где мой счёт?", "где он"])
    )
    assert figures["sentences"] == [2, 1]
    assert figures["unknown words (%)"] == [75, 100]


def test_newness_is_about_words_not_copies() -> None:
    old = [f"the parcel number {index} has not come" for index in range(40)]
    new = [f"a solar panel of roof {index} does not charge" for index in range(40)]
    scores = newness(old, new, 7)
    assert scores is not None
    assert max(scores[:40]) < min(scores[40:])
    copies = newness(old, old * 2, 7)
    assert copies is not None
    assert copies[:40] == copies[40:80] == copies[80:]


def test_one_huge_text_does_not_make_the_others_huge() -> None:
    tracemalloc.start()
    newness([f"text {index}" for index in range(400)], ["x " * 300_000, *"abcdefghijklm"], 7)
    assert tracemalloc.get_traced_memory()[1] < 200e6  # an array as wide as the longest text is 1 GB
    tracemalloc.stop()


def test_newness_needs_enough_texts_and_words() -> None:
    assert newness(["one text"] * 50, [f"text {index}" for index in range(50)], 7) is None
    assert newness(["." * index for index in range(20)], ["!" * index for index in range(20)], 7) is None
