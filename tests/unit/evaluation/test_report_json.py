"""The figures beside the page hold all that it shows, and no text of users."""

from __future__ import annotations

import json
from dataclasses import replace

from retune.artifacts import canonical_json
from retune.evaluation.evidence import Evidence
from retune.evaluation.report_json import SCHEMA_VERSION, figures
from retune.records import MetricValue
from tests.unit.evaluation.page_builders import answered, labels_of, measured, rich, texts, with_spec

NAMES = {
    "schema_version",
    "retune_version",
    "pipeline",
    "spec_digest",
    "dataset_digest",
    "set",
    "held_out_uses",
    "subject",
    "rival",
    "metric",
    "confidence",
    "headline",
    "decision",
    "contenders",
    "other_sets",
    "differences",
    "slices",
    "confusion",
    "examples",
    "training",
    "beside",
    "data",
}


def test_its_names_are_stable_and_its_figures_are_those_of_the_page() -> None:
    evidence = rich(4, 60)
    found = json.loads(canonical_json(figures(evidence)))
    assert SCHEMA_VERSION == 1 and found.keys() == NAMES
    assert found["contenders"]["candidate"]["metrics"]["accuracy"]["n"] == 60
    assert found["contenders"]["candidate"]["noise"]["value"] == 0.033
    assert found["contenders"]["candidate"]["latency"]["concurrency"] == 4
    assert found["decision"]["checks"][2]["needed"] == 310
    assert [one["name"] for one in found["differences"]][:2] == ["base", "few_shot"]
    assert {one["column"] for one in found["slices"]} == {"label", "language"}
    assert found["other_sets"].keys() == {"safety:candidate"}
    assert found["beside"]["learning_curve"]["points"][0] == [2500, 0.71, 200]
    assert found["training"]["curves"]["loss"] == [[1, 2.0], [2, 1.0]]
    assert found["data"] == {
        "rows_read": 1000,
        "train": 700,
        "validation": 100,
        "held_out": 60,
        "dropped": {"duplicate": 3},
    }


def test_right_and_wrong_answers_add_up() -> None:
    found = figures(rich(4, 60))
    confusion = found["confusion"]
    assert sum(confusion["right"].values()) + sum(one["n"] for one in confusion["wrong"]) == 60
    won, lost = found["examples"]["won"], found["examples"]["lost"]
    champion = next(one for one in found["differences"] if one["name"] == "champion")
    assert (len(won), len(lost)) == (champion["won"], champion["lost"])


def test_no_prompt_and_no_answer_stands_in_it() -> None:
    for evidence in (rich(4, 60), texts("The answer that was given.", "Another answer.")):
        written = canonical_json(figures(evidence)).decode()
        texts_of = {text for rows in evidence.outcomes.values() for one in rows for text in (one.prompt,)}
        if not evidence.labels:
            texts_of |= {
                t for rows in evidence.outcomes.values() for one in rows for t in (one.answer, one.expected)
            }
        assert not [text for text in texts_of if text and text in written]


def test_what_is_no_number_is_null() -> None:
    evidence = rich(4, 60)
    bad = {"accuracy": MetricValue(value=float("nan"), low=float("-inf"), high=1.0, n=60)}
    reports = {**evidence.reports, "candidate": evidence.report.model_copy(update={"metrics": bad})}
    found = json.loads(canonical_json(figures(replace(evidence, reports=reports))))
    value = found["contenders"]["candidate"]["metrics"]["accuracy"]
    assert (value["value"], value["low"], value["high"]) == (None, None, 1.0)


def test_without_gate_model_and_rival_these_are_null() -> None:
    mine = answered("one", labels_of(2), 20, 0.5)
    evidence = Evidence(with_spec({}), {"one": measured("one", mine)}, {"one": mine}, subject="one")
    found = figures(evidence)
    assert found.keys() == NAMES
    empty = ("decision", "training", "data", "dataset_digest", "confusion", "examples", "rival")
    assert [found[name] for name in empty] == [None] * len(empty)
