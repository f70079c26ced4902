"""What judges was not learned from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.evaluation.gate import leaked_rows
from retune.text.conversations import conversation, write_conversation


def lines(*rows: tuple[str, str], system: str = "Pick.") -> list[bytes]:
    """Lines of a canonical file."""
    return [write_conversation(conversation(system, prompt, answer)) for prompt, answer in rows]


def test_a_question_on_both_sides_is_a_leak_whatever_its_answer() -> None:
    train = lines(("Where is  my parcel?", "billing"), ("Refund?", "returns"), ("Refund?", "billing"))
    held_out = lines(("Where is my parcel?", "shipping"), ("Refund?", "returns"), ("New?", "account"))
    assert leaked_rows(train, held_out) == 2
    assert leaked_rows(lines(("Refund?", "returns"), system=""), held_out) == 1


def test_every_held_out_example_counts_and_none_twice() -> None:
    train = lines(("Refund?", "returns"), ("Refund?", "billing"))
    assert leaked_rows(train, lines(("Refund?", "returns"))) == 1
    assert leaked_rows(train, lines(("Refund?", "returns"), ("Refund?", "account"))) == 2


def test_sides_that_are_apart_leak_nothing() -> None:
    assert leaked_rows(lines(("a", "x")), lines(("b", "x"))) == 0
    assert leaked_rows([], lines(("b", "x"))) == leaked_rows(lines(("a", "x")), []) == 0


def test_files_split_at_line_feeds_may_be_given() -> None:
    data = b"".join(lines(("a", "x"), ("b", "y")))
    assert leaked_rows(data.split(b"\n"), data.split(b"\n")) == 2


def test_a_line_that_is_no_conversation_is_an_error() -> None:
    with pytest.raises(ValueError, match="truncated"):
        leaked_rows([b"{"], lines(("a", "x")))


@given(train=st.sets(st.integers(0, 30)), held_out=st.sets(st.integers(0, 30)), repeats=st.integers(1, 3))
def test_the_leak_is_what_both_sides_hold(train: set[int], held_out: set[int], repeats: int) -> None:
    learned = lines(*((f"question {number}", "x") for number in train)) * repeats
    judged = lines(*((f"question {number}", "y") for number in held_out))
    assert leaked_rows(learned, judged) == len(train & held_out)
