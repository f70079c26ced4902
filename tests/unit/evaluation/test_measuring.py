"""From outcomes to a report: scores for the gate, figures with intervals, and never a NaN."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.errors import DataError, SpecError
from retune.evaluation.measuring import measured, scored, summarise, task_of
from retune.evaluation.metrics import MeanMetric, Task, load_metric, metrics_for
from retune.evaluation.outcomes import read_outcomes
from retune.records import Contender, EvalReport, MetricValue, Outcome, Split
from retune.spec import PipelineSpec
from tests.unit.evaluation.builders import SPEC, blob
from tests.unit.evaluation.metrics.builders import outcome, outcomes

LABELS = ("billing", "shipping")
TASK = Task(labels=LABELS)


class Wild(MeanMetric):
    """A third party's metric whose scores are not what they should be."""

    name = "wild"

    def score(self, outcome: Outcome, task: Task) -> float | None:
        return {"nan": float("nan"), "two": 2.0, "none": None}.get(outcome.answer, 0.5)


class Broken:
    """A third party's metric that divides by nothing."""

    name = "broken"
    higher_is_better = True

    def unfit(self, task: Task) -> str:
        return ""

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        good = MetricValue(value=0.5, low=0.4, high=0.6, n=2)
        return {"broken": good.model_copy(update={"high": float("nan")}), "whole": good}


def report_of(found: list[Outcome], folder: Path, spec: PipelineSpec = SPEC) -> EvalReport:
    contender = Contender(spec_digest=spec.digest, name="base", model_name="base", model_digest="d")
    split = Split(artifact=blob("3"), rows=len(found))
    artifacts = Artifacts(folder.as_uri())
    return summarise(
        contender, split, "held_out", found, spec=spec, artifacts=artifacts, elapsed_s=2.0, task=TASK
    )


def test_the_report_has_the_figures_of_the_kind_and_the_outcomes_their_scores(tmp_path: Path) -> None:
    found = outcomes([("billing", "billing"), ("billing", "shipping"), ("shipping", "?")], TASK)
    found.append(outcome("shipping", "", TASK, error="timeout"))
    report = report_of(found, tmp_path)
    assert list(report.metrics) == ["accuracy", "macro_f1", "valid_label"]
    assert (report.n, report.failed, report.seconds) == (4, 1, 2.0)
    kept = read_outcomes(report, Artifacts(tmp_path.as_uri()))
    assert [one.scores for one in kept] == [
        {"accuracy": 1, "valid_label": 1},
        {"accuracy": 0, "valid_label": 1},
        {"accuracy": 0, "valid_label": 0},
        {"accuracy": 0, "valid_label": 0},
    ]
    for name in ("accuracy", "valid_label"):
        assert report.metrics[name].value == sum(one.scores[name] for one in kept) / 4


def test_a_score_that_an_outcome_brings_stays() -> None:
    [brought] = outcomes([("billing", "billing")], TASK)
    brought = brought.model_copy(update={"scores": {"judge": 0.5, "accuracy": 0.25}})
    metrics = metrics_for(SPEC, TASK)
    [found] = scored([brought], TASK, metrics)
    assert found.scores == {"judge": 0.5, "accuracy": 0.25, "valid_label": 1}
    assert scored([found], TASK, metrics) == [found]
    assert load_metric("accuracy").measure([found], TASK, 0.95, 1)["accuracy"].value == 0.25


def test_what_is_no_score_is_absent_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    task = Task(kind="generation")
    wild = outcomes([("x", answer) for answer in ("nan", "two", "none", "fine")], task)
    found = scored(wild, task, [Wild()])
    assert [one.scores for one in found] == [{}, {}, {}, {"wild": 0.5}]
    figures = measured(found, task, [Wild(), Broken()], confidence=0.95, seed=1, report=print)
    assert list(figures) == ["wild", "whole"]
    assert (figures["wild"].value, figures["wild"].n) == (0.5, 1)
    assert capsys.readouterr().out.splitlines() == [
        "wild: 3 of 4 examples have no score",
        "broken is not measured: it came out as 0.5 [0.4, nan]",
    ]


def test_no_outcome_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="base answered no example of the held_out set"):
        report_of([], tmp_path)


def test_labels_that_are_one_are_found_before_anything_is_asked() -> None:
    data = SPEC.to_json()
    data["task"]["normalise"] = {"case": "fold", "punctuation": "keep"}
    spec = PipelineSpec.from_json(data)
    with pytest.raises(SpecError, match="labels 'Billing' and 'billing' are one"):
        task_of(spec, ["Billing", "billing"])
    assert task_of(spec, ["Billing", "other"]).label_of("BILLING ") == "Billing"
    assert task_of(SPEC, ["Billing", "billing"]).label_of("Billing") == "Billing"
