"""What the trainer asks, for a server to be compared with it, and how that is read again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import BackendError
from retune.training import parity
from retune.training.conversations import Row

RULE = "Answer with the queue that the ticket belongs to."


def turns(*roles: str, word: str = "Rumpelstilzchen", system: str = RULE) -> list[dict[str, str]]:
    return [{"role": role, "content": system if role == "system" else word} for role in roles]


def row(*roles: str, **given: str) -> Row:
    return {"messages": turns(*roles, **given)}


def roles_of(found: list[list[dict[str, str]]]) -> set[tuple[str, ...]]:
    return {tuple(turn["role"] for turn in one) for one in found}


def test_probes_have_the_rows_shape_and_none_of_their_words() -> None:
    plain, longer = ("system", "user", "assistant"), ("system", "user", "assistant", "user", "assistant")
    found = parity.questions([*[row(*plain)] * 3, *[row(*longer)] * 2, row("user", "assistant")])
    assert len(found) == 8
    assert roles_of(found) == {plain[:-1], longer[:-1]}
    assert {one[0]["content"] for one in found} == {RULE}
    assert "Rumpelstilzchen" not in json.dumps(found)
    assert len({one[1]["content"] for one in found}) == 8


def test_a_system_prompt_that_rows_do_not_share_is_left_out() -> None:
    mine = [row("system", "user", "assistant", system=f"Ann lives at {number}") for number in range(2)]
    for rows in (mine, mine[:1]):
        found = parity.questions(rows)
        assert roles_of(found) == {("system", "user")}
        assert "Ann" not in json.dumps(found)


def test_a_system_prompt_that_one_row_alone_has_is_left_out() -> None:
    mine = row("system", "user", "assistant", system="Ann lives at 7")
    found = parity.questions([mine, *[row("user", "assistant")] * 3])
    assert roles_of(found) == {("system", "user"), ("user",)}
    assert "Ann" not in json.dumps(found)


@given(
    st.lists(
        st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=12).map(
            lambda roles: row(*roles)
        ),
        max_size=6,
    )
)
def test_any_rows_make_eight_probes_or_none(rows: list[Row]) -> None:
    found = parity.questions(rows)
    assert len(found) in (0, 8)
    assert "tool" not in {role for shape in roles_of(found) for role in shape}
    assert all(0 < len(one) <= 7 for one in found)
    assert "Rumpelstilzchen" not in json.dumps(found)


RECORD = parity.ParityRecord(
    template="sha256:" + "7" * 64,
    end=2,
    end_text="<|im_end|>",
    as_trained=True,
    unanswered="",
    precision="float32",
    libraries={"torch": "2.13.0"},
    probes=[
        parity.Probe(
            turns("user"), [5, 6], ["a", "b"], "ab", parity.Answer([7, 2], [1.5, 2.0], ["c", "c"], True)
        ),
        parity.Probe(turns("user"), [5], ["a"], "a"),
    ],
)


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    parity.write(RECORD, tmp_path)
    assert parity.parse((tmp_path / parity.FILE).read_bytes()) == RECORD


@given(st.binary())
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(BackendError, match="not a record that this version knows"):
        parity.parse(data)


@pytest.mark.parametrize("name", [*asdict(RECORD)])
def test_a_record_that_lacks_a_field_is_refused(name: str) -> None:
    found = asdict(RECORD)
    del found[name]
    with pytest.raises(BackendError, match="not a record that this version knows"):
        parity.parse(json.dumps(found).encode())


def test_a_record_of_a_later_version_is_refused() -> None:
    with pytest.raises(BackendError, match="schema_version 2"):
        parity.parse(json.dumps(asdict(RECORD) | {"schema_version": 2}).encode())
