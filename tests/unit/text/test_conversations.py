from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import DataError
from retune.text.conversations import conversation, normalise, read_conversations, write_conversations

# Surrogates cannot be written as UTF-8; intake refuses them.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(TEXT, TEXT, TEXT)))
def test_what_is_written_is_read_back(triples: list[tuple[str, str, str]]) -> None:
    rows = [conversation(*triple) for triple in triples]
    data = write_conversations(rows)
    assert read_conversations(data) == rows
    assert data.count(b"\n") == len(rows)


@given(TEXT)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_a_row_is_canonical_json() -> None:
    row = conversation("Be brief.", "  Wo ist\nmein Päckchen? ", " shipping\n")
    (line,) = write_conversations([row]).decode().splitlines()
    assert json.loads(line)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Wo ist\nmein Päckchen?"},
        {"role": "assistant", "content": "shipping"},
    ]
    assert line.startswith('{"id":"') and len(row.id) == 64
    assert (row.prompt, row.completion) == ("Wo ist\nmein Päckchen?", "shipping")
    assert [turn.role for turn in row.context] == ["system", "user"]


def test_the_id_ignores_white_space_and_the_system_prompt_but_not_the_completion() -> None:
    row = conversation("", "where  is my\torder", "shipping")
    assert row.id == conversation("Be brief.", " where is my order ", "shipping ").id
    assert row.id != conversation("", "where is my order", "billing").id
    assert conversation("", "Cafe\u0301", "x").id == conversation("", "Caf\u00e9", "x").id


def test_every_line_that_is_no_conversation_is_named() -> None:
    good = write_conversations([conversation("", "a", "b")])
    bad = b'{"id":"x","messages":[{"role":"user","content":"a"}]}\n'
    with pytest.raises(DataError) as caught:
        read_conversations(good + b"not json\n" + good + bad)
    assert [problem.line for problem in caught.value.problems] == [2, 4]
