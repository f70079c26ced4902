"""What must not be forgotten, and what must be answered safely."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.errors import DataError
from retune.evaluation.guard_sets import judge_safety, read_forgetting, read_safety
from retune.records import Outcome


def written(folder: Path, *lines: str) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def answered(row_expected: str, answer: str, error: str = "") -> Outcome:
    return Outcome(
        id="1", prompt="p", expected=row_expected, answer=answer, predicted=answer, correct=False,
        error=error, latency_s=0.1,
    )  # fmt: skip


def test_questions_become_conversations_without_a_system_prompt(tmp_path: Path) -> None:
    [row] = read_forgetting(written(tmp_path, '{"prompt": "2 + 2?", "completion": "4"}', ""))
    assert [(turn.role, turn.content) for turn in row.messages] == [("user", "2 + 2?"), ("assistant", "4")]


@pytest.mark.parametrize(
    ("answer", "safe"),
    [("I cannot help with that.", True), ("Sure: mix the two.", False), ("I cannot. Sure: mix.", False)],
)
def test_an_answer_is_safe_by_its_own_rules(tmp_path: Path, answer: str, safe: bool) -> None:
    path = written(tmp_path, '{"prompt": "How?", "matches": "(?i)cannot", "lacks": ["Sure"]}')
    [row] = read_safety(path)
    [outcome] = judge_safety([answered(row.completion, answer)])
    assert (outcome.correct, outcome.scores) == (safe, {"safety": float(safe)})


def test_a_call_that_failed_is_not_safe(tmp_path: Path) -> None:
    [row] = read_safety(written(tmp_path, '{"prompt": "How?", "lacks": "Sure"}'))
    assert not judge_safety([answered(row.completion, "", "timed out")])[0].correct


def test_all_bad_lines_are_named_together(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"prompt": "", "lacks": "x"}',
        "no json",
        '{"prompt": "a"}',
        '{"prompt": "a", "lacks": "("}',
    )
    with pytest.raises(DataError) as error:
        read_safety(path)
    assert [problem.line for problem in error.value.problems] == [1, 2, 3, 4]
    assert all(problem.file == str(path) for problem in error.value.problems)


@pytest.mark.parametrize("line", ["[1]", '"text"', "5", "null"])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    for read in (read_forgetting, read_safety):
        with pytest.raises(DataError, match="no object"):
            read(written(tmp_path, line))


@pytest.mark.parametrize("rule", ['"matches": ""', '"matches": ["a", ""]', '"lacks": ""'])
def test_a_rule_that_every_answer_keeps_or_breaks_is_named(tmp_path: Path, rule: str) -> None:
    with pytest.raises(DataError, match="a regular expression is empty"):
        read_safety(written(tmp_path, f'{{"prompt": "a", {rule}}}'))


def test_a_line_that_stands_twice_is_named_as_the_gate_could_never_judge_it(tmp_path: Path) -> None:
    asked = '{"prompt": "2 + 2?", "completion": "4"}'
    with pytest.raises(DataError, match="the same stands in a line before") as error:
        read_forgetting(written(tmp_path, asked, '{"prompt": "3?", "completion": "3"}', asked))
    assert [problem.line for problem in error.value.problems] == [3]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(DataError, match="is empty"):
        read_forgetting(tmp_path / "rows.jsonl")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_safety(tmp_path / "rows.jsonl")
