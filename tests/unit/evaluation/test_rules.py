"""Rules of form are sound before anything is asked, and each that an answer breaks is told."""

from __future__ import annotations

import pytest

from retune.errors import SpecError
from retune.evaluation.measuring import task_of
from retune.evaluation.metrics import Task
from retune.evaluation.rules import read_rules
from retune.spec import PipelineSpec
from retune.spec.evaluation import Rules
from tests.unit.evaluation.builders import SPEC
from tests.unit.evaluation.metrics.builders import measure, outcome, outcomes

POLITE = Rules(matches=("^Dear ", "regards$"), lacks=("(?i)refund",), least_characters=10, most_characters=40)


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        ("Dear Ada, with regards", []),
        ("\n Dear Ada, with regards \n", []),
        ("Hello Ada, with regards", ["lacks '^Dear '"]),
        ("Dear Ada, your Refund, with regards", ["holds '(?i)refund'"]),
        ("", ["lacks '^Dear '", "lacks 'regards$'", "0 characters, at least 10 are wanted"]),
        (f"Dear Ada, {'very ' * 20_000}kind regards", ["100022 characters, at most 40 are allowed"]),
    ],
)
def test_each_rule_that_an_answer_breaks_is_told(answer: str, broken: list[str]) -> None:
    assert read_rules(POLITE).broken(answer) == broken


def test_the_metric_is_the_share_that_keeps_them_all() -> None:
    task = Task(kind="generation", rules=read_rules(POLITE))
    found = outcomes([("x", "Dear Ada, regards"), ("x", "Dear Ada"), ("x", "")], task)
    failed = outcome("x", "", task, error="timeout")
    lenient = Task(kind="generation", rules=read_rules(Rules(most_characters=9)))
    assert measure("rules", found, task)["rules"].value == pytest.approx(1 / 3)
    assert measure("rules", [failed], lenient)["rules"].value == 0


def test_every_rule_that_is_none_is_told() -> None:
    data = SPEC.to_json()
    data["evaluation"]["rules"] = {
        "matches": ["fine", "("],
        "lacks": ["[a"],
        "least_characters": 9,
        "most_characters": 3,
    }
    with pytest.raises(SpecError) as caught:
        task_of(PipelineSpec.from_json(data), ())
    said = [problem.what for problem in caught.value.problems]
    assert said[0].startswith("evaluation.rules.matches[1]: '(' is no regular expression: missing )")
    assert said[1].startswith("evaluation.rules.lacks[0]: '[a' is no regular expression")
    assert said[2] == "evaluation.rules: least_characters 9 is more than most_characters 3"
