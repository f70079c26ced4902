"""Metrics are found by name, built in or brought by a package, and what cannot work is said at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retune.errors import SetupError, SpecError
from retune.evaluation.measuring import task_of
from retune.evaluation.metrics import MeanMetric, ScoresExamples, Task, load_metric, metrics_for
from retune.evaluation.metrics.registry import BUILT_IN, DEFAULTS, GROUP
from retune.records import Outcome
from retune.spec import PipelineSpec
from tests.unit.evaluation.builders import SPEC

ROOT = Path(__file__).resolve().parents[4]
PAIRED = {"accuracy", "chrf", "embedding_similarity", "exact_match", "field_f1", "rouge", "rules"} | {
    "valid_json",
    "valid_label",
}


class Shouting(MeanMetric):
    """A package's own metric."""

    name = "shouting"
    higher_is_better = False

    def score(self, outcome: Outcome, task: Task) -> float:
        return float(outcome.answer.isupper())


class Misnamed(Shouting):
    name = "whispering"


def spec_of(kind: str = "classification", metric: str = "accuracy", **evaluation: Any) -> PipelineSpec:
    data = SPEC.to_json()
    data["task"] |= {"kind": kind}
    data["gate"] |= {"metric": metric}
    data["evaluation"] |= evaluation
    return PipelineSpec.from_json(data)


def names(spec: PipelineSpec) -> list[str]:
    return [metric.name for metric in metrics_for(spec, task_of(spec, ()))]


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package is installed that brings metrics, one of them under a built-in name."""
    metadata = tmp_path / "third_party-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    lines = [
        f"[{GROUP}]",
        f"shouting = {__name__}:Shouting",
        f"accuracy = {__name__}:Shouting",
        f"misnamed = {__name__}:Misnamed",
        "gone = third_party_metrics:Gone",
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield


def test_the_package_declares_the_metrics_that_a_folder_has_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_metric_says_its_name_its_direction_and_whether_it_scores_examples(name: str) -> None:
    metric = load_metric(name)
    assert metric.name == name and metric.higher_is_better == (name != "perplexity")
    assert isinstance(metric, ScoresExamples) == (name in PAIRED)
    assert (type(metric).__doc__ or "").strip()


def test_the_reference_describes_every_metric_and_says_whether_it_scores_examples() -> None:
    section = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8").partition("\n## Metrics\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \| [a-z, ]+ \|$", section, re.M)
    assert dict(rows) == {name: "yes" if name in PAIRED else "no" for name in BUILT_IN}
    for kind, wanted in DEFAULTS.items():
        assert f"| {kind} | {', '.join(f'`{name}`' for name in wanted)} |" in section


@pytest.mark.parametrize("kind", DEFAULTS)
def test_each_kind_of_task_has_metrics_of_its_own(kind: str) -> None:
    assert sorted(names(spec_of(kind))) == sorted(DEFAULTS[kind])


def test_what_the_gate_and_the_spec_name_is_measured_once() -> None:
    spec = spec_of("generation", "rouge", metrics=["bleu", "chrf"], rules={"most_characters": 80})
    assert names(spec) == ["rouge", "accuracy", "chrf", "rules", "bleu"]


def test_a_package_brings_a_metric_and_replaces_none(third_party: None) -> None:
    assert names(spec_of(metrics=["shouting"]))[-1] == "shouting"
    assert names(spec_of(metric="shouting"))[0] == "shouting"
    assert type(load_metric("accuracy")).__name__ == "Accuracy"
    with pytest.raises(SetupError, match="metric 'gone' cannot be loaded"):
        load_metric("gone")
    with pytest.raises(SetupError, match="'misnamed' calls itself 'whispering'"):
        load_metric("misnamed")


def test_an_unknown_name_is_told_with_those_that_are_known(third_party: None) -> None:
    with pytest.raises(SpecError) as caught:
        task_of(spec_of(metrics=["acuracy", "f1"]), ())
    [first, second] = caught.value.problems
    assert first.what.startswith("evaluation.metrics: no metric is called 'acuracy'; installed are accuracy")
    assert "shouting" in first.what and "'f1'" in second.what


@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - PAIRED - {"bleu"}))
def test_the_gate_decides_by_no_metric_without_a_score_per_example(name: str) -> None:
    with pytest.raises(SpecError, match=rf"gate.metric: {name} has no score .* such as accuracy, "):
        task_of(spec_of(metric=name), ())


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("generation", "macro_f1", "generation has no labels"),
        ("generation", "per_label", "generation has no labels"),
        ("extraction", "weighted_f1", "extraction has no labels"),
        ("extraction", "valid_label", "extraction has no labels"),
        ("classification", "bleu", "right or wrong as a whole"),
        ("classification", "chrf", "right or wrong as a whole"),
        ("classification", "rouge", "right or wrong as a whole"),
        ("classification", "valid_json", "right or wrong as a whole"),
        ("generation", "field_f1", "has no fields"),
        ("generation", "rules", "evaluation.rules has none"),
        ("generation", "embedding_similarity", "evaluation.rag.embeddings names no endpoint"),
    ],
)
def test_a_metric_that_means_nothing_for_the_task_is_refused(kind: str, name: str, reason: str) -> None:
    for spec in (spec_of(kind, name), spec_of(kind, metrics=[name])):
        with pytest.raises(SpecError, match=f"{name} means nothing here: .*{reason}"):
            task_of(spec, ())


def test_all_problems_of_a_spec_are_listed_together() -> None:
    with pytest.raises(SpecError) as caught:
        task_of(spec_of("generation", "bleu", metrics=["macro_f1", "nothing"]), ())
    assert [problem.what.split(":")[0] for problem in caught.value.problems] == [
        "gate.metric",
        "evaluation.metrics",
        "evaluation.metrics",
    ]
