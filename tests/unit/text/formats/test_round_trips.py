from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data.shapes import reader_of
from retune.spec.data import Data
from retune.text.conversations import Conversation, make
from retune.text.formats import gemini_rows, openai_rows, trl_rows
from retune.text.formats.limits import Format

from .conversations import conversations

FORMATS = [
    (openai_rows.SFT, "chat", False, True),
    (openai_rows.PREFERENCE, "preference", True, False),
    (gemini_rows.SFT, "gemini", False, False),
    (gemini_rows.PREFERENCE, "gemini", True, False),
    (trl_rows.SFT, "chat", False, False),
    (trl_rows.PREFERENCE, "preference", True, False),
]


def without_tool_names(row: Conversation) -> Conversation:
    """Return the same turns without the names that Gemini gives the tools that answer."""
    turns = [msgspec.structs.replace(turn, name="") for turn in row.messages]
    return make(turns, row.rejected, row.tools)


@pytest.mark.parametrize(
    ("wanted", "shape", "pair", "weights"), FORMATS, ids=[one[0].name for one in FORMATS]
)
@settings(max_examples=40)
@given(data=st.data())
def test_a_written_line_reads_back_to_the_same_turns(
    wanted: Format, shape: Any, pair: bool, weights: bool, data: st.DataObject
) -> None:
    row = data.draw(conversations(pair=pair, weights=weights))
    line = wanted.line(row)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    turns = reader_of(Data(sources=("x",), format=shape))(json.loads(line))
    assert without_tool_names(make(turns.messages, turns.rejected, turns.tools)) == row


@settings(max_examples=20)
@given(conversations(pair=True))
def test_the_better_answer_of_a_preference_is_what_sft_learns(row: Conversation) -> None:
    for wanted, key in (
        (openai_rows.SFT, "messages"),
        (gemini_rows.SFT, "contents"),
        (trl_rows.SFT, "messages"),
    ):
        written = json.loads(wanted.line(row))
        assert set(written) <= {key, "tools", "systemInstruction"}
        turns = reader_of(Data(sources=("x",), format="gemini" if key == "contents" else "chat"))(written)
        assert turns.messages[-1].content == row.messages[-1].content and turns.rejected == []
