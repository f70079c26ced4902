"""The short way through intake comes to what the long way comes to."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data.blocks import Block
from retune.data.intake import Plan, Read, read_block
from retune.data.plain_chat import PlainChats, fits
from retune.data.spool import Segment
from retune.spec import PipelineSpec

TEXTS = st.one_of(
    st.text(st.sampled_from("ab \n\t.:\\\"'{}"), max_size=12),
    st.sampled_from(
        ["", " ", "é\u0301", "\x7f", "\r", "\u2028", "a  b", "mail ann@example.org", "a: b", "\x1f"]
    ),
)
TURN = st.builds(
    dict, role=st.sampled_from(["system", "user", "assistant", "assistant", "user", "tool"]), content=TEXTS
)
GOOD = st.lists(TEXTS, min_size=2, max_size=4).map(
    lambda texts: [
        {"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)
    ]
)
WITH_SYSTEM = st.tuples(TEXTS, GOOD).map(lambda both: [{"role": "system", "content": both[0]}, *both[1]])
ODD = st.sampled_from(
    [{"role": "user"}, {"role": "assistant", "content": "x", "weight": 0}, {"role": "user", "content": None}]
)
ROW = st.one_of(
    st.builds(dict, messages=st.one_of(GOOD, WITH_SYSTEM, st.lists(st.one_of(TURN, ODD), max_size=4))),
    st.builds(dict, messages=GOOD, tools=st.sampled_from([[], [{"type": "function"}]])),
)
LINE = st.one_of(
    ROW.map(lambda row: json.dumps(row, ensure_ascii=False)),
    ROW.map(lambda row: json.dumps(row, separators=(",", ":"))),
    st.just(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],'
        ' "messages": []}'
    ),
    st.just('{"messages": [{"role": "user", "role": "user", "content": "a"}]}'),
    st.just("{"),
)


def spec(privacy: str = "redact", **changed: Any) -> PipelineSpec:
    return PipelineSpec.model_validate(
        {
            "version": 1,
            "pipeline": "chat",
            "data": {"sources": ["x"], "format": "chat", "privacy": privacy, **changed},
            "task": {"kind": "generation"},
            "recipes": [{"base_model": "base"}],
            "evaluation": {"endpoint": "e"},
            "deploy": {"endpoint": "e", "alias": "chat"},
        }
    )


def read(lines: list[str], of: PipelineSpec, columns: tuple[str, ...]) -> tuple[Read, bytes]:
    with tempfile.TemporaryDirectory() as name:
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
        found = read_block(Block(0, "x", data=data), Plan(of, Path(name), columns))
        return found, (Path(name) / "0.jsonl").read_bytes()


@settings(max_examples=150)
@given(
    st.lists(LINE, max_size=6),
    st.sampled_from(["redact", "reject", "allow"]),
    st.sampled_from(["", "Be brief."]),
)
def test_both_ways_come_to_the_same(lines: list[str], privacy: str, system: str) -> None:
    chosen = spec(privacy, system_prompt=system)
    short, short_lines = read(lines, chosen, ())
    # A column that the expectations want makes every row go the long way.
    long, long_lines = read(lines, chosen, ("messages",))
    assert short.rows.equals(long.rows, null_equal=True)
    assert short_lines == long_lines
    assert (short.personal, short.cleaned) == (long.personal, long.cleaned)


@pytest.mark.parametrize(
    ("messages", "plain"),
    [
        ([("user", "a"), ("assistant", "b")], True),
        ([("system", "s"), ("user", "a\nb"), ("assistant", "b"), ("user", "c"), ("assistant", "d")], True),
        ([("user", "a: b"), ("assistant", "b")], False),
        ([("user", "é"), ("assistant", "b")], False),
        ([("user", "a"), ("user", "b")], False),
        ([("user", ""), ("assistant", "b")], False),
        ([("tool", "a"), ("assistant", "b")], False),
    ],
)
def test_which_rows_go_the_short_way(messages: list[tuple[str, str]], plain: bool, tmp_path: Path) -> None:
    row = {"messages": [{"role": role, "content": content} for role, content in messages]}
    segment = Segment(tmp_path, 0)
    chats = PlainChats(spec().data, False, segment, Counter())
    assert (chats.take(1, json.dumps(row, ensure_ascii=False).encode()) is not None) is plain
    segment.close()


def test_where_other_columns_count_every_row_goes_the_long_way() -> None:
    assert fits(spec().data, ())
    assert not fits(spec().data, ("messages",))
    assert not fits(spec(split={"group_by": "customer"}).data, ())
    assert not fits(spec(format="prompt_completion").data, ())
