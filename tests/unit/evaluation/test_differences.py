"""What was won and lost is told by labels and by words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retune.evaluation.comparison import paired
from retune.evaluation.differences import (
    FAILED,
    MOST_CHARACTERS,
    NO_LABEL,
    confusions,
    cut,
    label_pairs,
    lost,
    won,
    word_diff,
)
from tests.unit.evaluation.test_comparison import outcome


def test_won_and_lost_come_with_the_largest_first() -> None:
    mine = [outcome("1", 0.6), outcome("2", 1.0), outcome("3", 0.0), outcome("4", 0.5)]
    theirs = [outcome("1", 0.5), outcome("2", 0.0), outcome("3", 0.9), outcome("4", 0.5)]
    pairs = paired(mine, theirs, "accuracy")
    assert [pair.mine.id for pair in won(pairs)] == ["2", "1"]
    assert [pair.mine.id for pair in lost(pairs)] == ["3"]


def test_labels_are_counted_with_what_is_no_label() -> None:
    mine = [
        outcome("1", 0, expected="a", predicted="b"),
        outcome("2", 0, expected="a", predicted="b"),
        outcome("3", 0, expected="a", predicted=""),
        outcome("4", 0, expected="c", predicted="", error="timeout"),
        outcome("5", 1, expected="a", predicted="a"),
    ]
    assert confusions(mine) == [("a", "b", 2), ("a", NO_LABEL, 1), ("c", FAILED, 1)]
    theirs = [one.model_copy(update={"predicted": one.expected, "scores": {"accuracy": 1.0}}) for one in mine]
    found = label_pairs(lost(paired(mine, theirs, "accuracy")))
    assert (found[0].expected, found[0].mine, found[0].theirs, found[0].count) == ("a", "b", "a", 2)


def test_words_that_differ_are_marked() -> None:
    found = word_diff("It comes on Monday.", "It comes on Tuesday.")
    assert [(one.kind, one.text) for one in found] == [
        ("same", "It comes on "),
        ("missing", "Monday"),
        ("added", "Tuesday"),
        ("same", "."),
    ]


def test_quite_another_text_is_one_piece() -> None:
    found = word_diff("The parcel arrives on Monday morning.", "No idea. Ask somebody else, please!")
    assert [one.kind for one in found] == ["added"]


@given(st.text(max_size=80), st.text(max_size=80))
def test_the_pieces_give_both_texts_back(expected: str, answer: str) -> None:
    found = word_diff(expected, answer)
    assert "".join(one.text for one in found if one.kind != "missing") == answer
    if found and found != [one for one in found if one.kind == "added"]:
        assert "".join(one.text for one in found if one.kind != "added") == expected


def test_a_huge_answer_is_cut_before_it_is_compared() -> None:
    found = word_diff("a b c " * 20_000, "a c b " * 20_000)
    assert sum(len(one.text) for one in found) < 3 * MOST_CHARACTERS


def test_what_is_cut_says_how_much_is_missing() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcdef", 2) == "ab … (4 characters more)"
