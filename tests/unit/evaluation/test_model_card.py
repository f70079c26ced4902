"""The model card is one that Hugging Face's own library reads, and says what a user must know."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from retune.evaluation.evidence import Evidence
from retune.evaluation.model_card import model_card
from retune.records import MetricValue
from tests.unit.evaluation.builders import SPEC
from tests.unit.evaluation.page_builders import HOSTILE, answered, labels_of, measured, rich, with_spec


def small(**changed: Any) -> Evidence:
    evidence = rich(4, 60)
    assert evidence.model
    model = evidence.model.model_copy(
        update={"base_model": "Qwen/Qwen3-0.6B", "base_digest": "hf:" + "c" * 40}
    )
    return replace(evidence, model=model.model_copy(update=changed))


def head_of(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_huggingface_hub_reads_its_head_and_its_results() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="comes with the `local` extra")
    card = hub.ModelCard(model_card(small()))
    assert card.data.base_model == "Qwen/Qwen3-0.6B"
    assert (card.data.library_name, card.data.pipeline_tag) == ("peft", "text-generation")
    assert card.data.model_name == "tickets" and card.data.license is None
    results = {one.metric_type: one for one in card.data.eval_results}
    accuracy = results["accuracy"]
    assert set(results) == {"accuracy", "macro_f1", "valid_label"}
    assert accuracy.task_type == "text-classification" and accuracy.dataset_split == "test"
    assert accuracy.dataset_revision == "sha256:" + "d" * 64
    assert accuracy.metric_args["low"] < accuracy.metric_value < accuracy.metric_args["high"]
    assert (accuracy.metric_args["n"], accuracy.metric_args["confidence"]) == (60, 0.95)
    # What the library writes anew is what it read: nothing in the head was lost on it.
    assert yaml.safe_load(card.data.to_yaml()) == head_of(model_card(small()))


def test_a_base_model_that_is_no_hub_model_is_not_named_to_the_hub() -> None:
    card = model_card(small(base_model="include/base", base_digest="sha256:" + "b" * 64))
    head = head_of(card)
    assert "base_model" not in head and "base_model_relation" not in head
    assert "include/base" in card.partition("---\n\n")[2]


@pytest.mark.parametrize(
    ("kind", "library", "relation"),
    [("adapter", "peft", "adapter"), ("weights", "transformers", "finetune"), ("hosted", None, None)],
)
def test_the_library_follows_the_kind_of_model(kind: str, library: str | None, relation: str | None) -> None:
    head = head_of(model_card(small(kind=kind)))
    assert (head.get("library_name"), head.get("base_model_relation")) == (library, relation)


def test_it_says_what_it_is_for_how_it_was_made_and_where_it_ends() -> None:
    card = model_card(small())
    for title in ("Intended use", "Results", "What the gate said", "Limits", "How it was trained", "Data"):
        assert f"\n## {title}\n" in card
    for words in (
        "REJECT: On one label the candidate lost 40 points",
        "Labels (4): `",
        "not settled",
        "A better prompt is enough",
        "3 runs have used this held-out set",
        "changed its score on 3.3% of 30 examples",
        "last loss | 1.0000 at step 2",
        "| trained on | 700 |",
        "over base: +",
        "95 of 100 at most 310 ms",
    ):
        assert words in card, words


def test_what_users_wrote_changes_neither_head_nor_tables() -> None:
    evil = "a |b\n---\nlicense: mit `x` [l](http://e) "
    labels = (HOSTILE, evil)
    evidence = small()
    spec = with_spec({"data": SPEC.to_json()["data"] | {"system_prompt": f"Pick.\n```\n---\n{HOSTILE}"}})
    rows = answered("candidate", labels, 20, 0.5)
    card = model_card(
        replace(
            evidence,
            spec=spec,
            labels=labels,
            reports={"candidate": measured("candidate", rows)},
            outcomes={"candidate": rows},
        )
    )
    assert "license" not in head_of(card)
    body = card.partition("---\n\n")[2]
    outside = [line for line in body.splitlines() if HOSTILE in line and not line.startswith("    ")]
    assert all(f"`{HOSTILE}`" in line for line in outside), "stands as code only"
    tables = [line for line in body.splitlines() if line.startswith("|")]
    for line in tables:
        assert line.endswith("|")


@pytest.mark.parametrize("broken", ["value", "low", "high"])
def test_a_metric_that_is_no_number_is_left_out_of_the_head(broken: str) -> None:
    evidence = small()
    figures = {"value": 0.5, "low": 0.0, "high": 1.0, broken: float("nan")}
    bad = {"accuracy": MetricValue.model_validate(figures | {"n": 60})}
    report = evidence.report.model_copy(update={"metrics": bad})
    head = head_of(model_card(replace(evidence, reports={**evidence.reports, "candidate": report})))
    assert "model-index" not in head and json.dumps(head, allow_nan=False)


def test_a_card_needs_a_decision() -> None:
    with pytest.raises(ValueError, match="needs a model, its dataset and a decision"):
        model_card(replace(small(), decision=None))


def test_77_labels_are_named() -> None:
    labels = labels_of(77)
    rows = answered("candidate", labels, 154, 0.9)
    evidence = replace(
        small(),
        labels=labels,
        outcomes={"candidate": rows},
        reports={"candidate": measured("candidate", rows)},
    )
    assert all(f"`{label}`" in model_card(evidence) for label in labels)
