"""Pairs that people judged are read whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.errors import DataError
from retune.evaluation.judging.pairs import Labelled, Pair, alike, read_labelled, rival_of
from tests.unit.evaluation.judging.builders import outcomes, write_judged


def test_judged_pairs_are_read_in_order(tmp_path: Path) -> None:
    path = write_judged(tmp_path, ("good", "", "first"), ("a", "b", "tie"))
    path.write_text(path.read_text() + "\n")
    assert read_labelled(path) == [
        Labelled(Pair("Judged 0?", "good", ""), "first"),
        Labelled(Pair("Judged 1?", "a", "b"), "tie"),
    ]


def test_all_bad_lines_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    path.write_bytes(
        b'{"prompt": "p", "first": "a", "second": "b", "better": "first"}\n'
        b"no json\n"
        b'{"prompt": "p", "first": "a", "better": "first"}\n'
        b'{"prompt": "p", "first": "a", "second": "b", "better": "A"}\n'
        b'{"prompt": " ", "first": "a", "second": "b", "better": "tie"}\n'
        b'{"prompt": "\xff", "first": "a", "second": "b", "better": "tie"}\n'
    )
    with pytest.raises(DataError) as error:
        read_labelled(path)
    assert [problem.line for problem in error.value.problems] == [2, 3, 4, 5, 6]
    assert "second" in str(error.value.problems[1])


TIE = '{"prompt": "p", "first": "a", "second": "b", "better": "tie"}\n'


@pytest.mark.parametrize("text", [None, "", TIE], ids=["missing", "empty", "ties only"])
def test_a_file_that_cannot_try_a_judge_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "judged.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match="judged.jsonl"):
        read_labelled(path)


def test_the_champion_is_the_rival_and_base_where_none_serves() -> None:
    assert rival_of(["base", "candidate", "champion"]) == "champion"
    assert rival_of(["few_shot", "base", "candidate"]) == "base"
    assert rival_of(["candidate", "few_shot"]) == ""


def test_answers_are_alike_by_what_they_name() -> None:
    one, two, three = outcomes(["Billing.", "billing", "shipping"])
    assert not alike(one, two)
    named = one.model_copy(update={"predicted": "billing"})
    assert alike(named, two) and not alike(named, three)
    none, other = (row.model_copy(update={"predicted": ""}) for row in (one, three))
    assert alike(none, none) and not alike(none, other)
