"""Answers that should be JSON: what is valid, and how many fields are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.evaluation.metrics import ScoresExamples, Task, load_metric
from retune.evaluation.schemas import read_schema
from retune.spec.data import Normalise
from tests.unit.evaluation.metrics.builders import measure, outcome, outcomes

TASK = Task(kind="extraction")
ORDER = json.dumps({"total": 12, "paid": True, "items": [{"name": "pen"}, {"name": "ink"}]})
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4),
    max_leaves=8,
)


def score(name: str, expected: str, answer: str, task: Task = TASK) -> float | None:
    metric = load_metric(name)
    assert isinstance(metric, ScoresExamples)
    return metric.score(outcome(expected, answer, task), task)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        f"```json\n{ORDER}\n```",
        f"Here it is: {ORDER}",
        ORDER[:-4],
        ORDER + ORDER,
        "{'total': 12}",
        '{"total": NaN}',
        '{"total": 12,}',
        '{"name": "\\ud800"}',
        "[" * 100_000,
        "billing.",
    ],
    ids=["empty", "fence", "prose", "cut", "twice", "quotes", "NaN", "comma", "surrogate", "deep", "label"],
)
def test_what_is_not_json_and_nothing_else_is_neither_valid_nor_right(answer: str) -> None:
    assert score("valid_json", ORDER, answer) == 0
    assert score("field_f1", ORDER, answer) == 0
    assert not outcome(ORDER, answer, TASK).correct


@pytest.mark.parametrize("answer", [f"\n {ORDER} \n", json.dumps(json.loads(ORDER), indent=4)])
def test_white_space_around_and_inside_of_json_does_not_count(answer: str) -> None:
    assert score("valid_json", ORDER, answer) == score("field_f1", ORDER, answer) == 1
    assert outcome(ORDER, answer, TASK).correct


def test_json_must_fit_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps({"type": "object", "required": ["total"], "additionalProperties": False,
                                "properties": {"total": {"type": "number"}}}))  # fmt: skip
    task = Task(kind="extraction", schema=read_schema(path, "answer.json"))
    assert score("valid_json", "{}", '{"total": 1}', task) == 1
    for answer in ("{}", '{"total": "1"}', '{"total": 1, "more": 2}', "[]", "null"):
        assert score("valid_json", "{}", answer, task) == 0


@pytest.mark.parametrize(
    ("expected", "answer", "f1"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, 0.5),
        ({"a": 1, "b": 2}, {"a": 1}, 2 / 3),
        ({"a": 1}, {"a": 1, "b": 2}, 2 / 3),
        ({"a": {"b": 1}}, {"a": 1}, 0),
        ({"a": 1}, {"b": 1}, 0),
        ({"a": 1}, {"a": 1.0}, 1),
        ({"a": 1}, {"a": True}, 0),
        ({"a": "1"}, {"a": 1}, 0),
        ({"a": None}, {}, 0),
        ({"a": []}, {"a": {}}, 0),
        ({"a": [1, 2, 2]}, {"a": [2, 1, 2]}, 1),
        ({"a": [1, 2, 2]}, {"a": [2, 1]}, 0.8),
        ({}, {}, 1),
        ({"a.b": 1}, {"a": {"b": 1}}, 0),
    ],
)
def test_the_f1_of_fields(expected: Any, answer: Any, f1: float) -> None:
    assert score("field_f1", json.dumps(expected), json.dumps(answer)) == pytest.approx(f1)


def test_the_order_of_a_list_counts_for_accuracy_only() -> None:
    keys, items = ('{"a": [1, 2], "b": 0}', '{"b": 0, "a": [1, 2]}'), ('{"a": [1, 2]}', '{"a": [2, 1]}')
    found = outcomes([keys, items], TASK)
    assert [one.correct for one in found] == [True, False]
    assert measure("field_f1", found, TASK)["field_f1"].value == 1


def test_the_micro_f1_is_over_all_fields() -> None:
    found = outcomes([('{"a": 1}', '{"a": 1}'), ('{"a": 1, "b": 2, "c": 3}', '{"a": 0}'), ("{}", "no")], TASK)
    figures = measure("field_f1", found, TASK)
    assert figures["field_f1"].value == pytest.approx((1 + 0 + 0) / 3)
    assert figures["field_f1_micro"].value == pytest.approx(2 * 1 / (5 + 2))


def test_texts_are_compared_as_the_spec_declares() -> None:
    folded = Task(kind="extraction", normalise=Normalise(case="fold", punctuation="strip"))
    pair = ('{"city": "Bern"}', '{"city": "bern."}')
    assert (score("field_f1", *pair), score("field_f1", *pair, folded)) == (0, 1)
    assert outcome(*pair, folded).correct and not outcome(*pair, TASK).correct


def test_rows_that_are_no_json_have_no_fields(capsys: pytest.CaptureFixture[str]) -> None:
    found = outcomes([("billing", "billing"), ("x", "{}")], TASK)
    assert measure("field_f1", found, TASK) == {}
    assert capsys.readouterr().out == "field_f1 is not measured: no expected answer is JSON\n"
    assert [one.correct for one in found] == [True, False]


@settings(max_examples=25, deadline=None)
@given(values, values)
def test_the_f1_of_fields_is_symmetric_and_1_for_equal_values(first: Any, second: Any) -> None:
    one, other = json.dumps(first), json.dumps(second)
    assert score("field_f1", one, one) == 1 and outcome(one, one, TASK).correct
    there, back = score("field_f1", one, other), score("field_f1", other, one)
    assert there is not None and there == back and 0 <= there <= 1
    if outcome(one, other, TASK).correct:
        assert there == 1
