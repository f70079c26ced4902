"""What prompts scored on the validation side, as figures that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal

from retune.errors import DataError, Problem
from retune.records import Dataset, EvalReport, Outcome
from retune.records.advice import Finding
from retune.spec import PipelineSpec

if TYPE_CHECKING:
    from retune.stats.sequential import Sequential

Prompt = Literal["base", "few_shot", "rag"]
PROMPTS: tuple[Prompt, ...] = ("base", "few_shot", "rag")
"""Ways to ask a base model, the cheapest first."""
TITLES: dict[Prompt, str] = {
    "base": "The base model",
    "few_shot": "The base model with examples in the prompt",
    "rag": "The base model with passages of documents in the prompt",
}


@dataclass(frozen=True)
class Scored:
    """How one prompt did.

    Attributes:
        name: Which prompt.
        scores: Example id -> its score by `gate.metric`, 0 to 1.
        groups: Example id -> the group it is of; empty where it is of none.
        valid: Share of answers of the wanted form; None where nothing says.
        answers: The different answers that were expected, and of how many examples.
        report: Its intervals and cost.
    """

    name: Prompt
    scores: Mapping[str, float]
    groups: Mapping[str, str]
    valid: float | None
    answers: tuple[int, int]
    report: EvalReport

    @property
    def score(self) -> float:
        """The mean score."""
        return sum(self.scores.values()) / len(self.scores)


def scored(
    spec: PipelineSpec,
    dataset: Dataset,
    reports: Mapping[str, EvalReport],
    outcomes: Mapping[str, Sequence[Outcome]],
) -> tuple[dict[Prompt, Scored], list[Finding]]:
    """Return what counts of each prompt that was measured, and why another does not.

    Args:
        spec: The frozen spec.
        dataset: The data whose validation side was asked.
        reports: By `base`, `few_shot`, `rag`; others are not looked at.
        outcomes: The same keys: per-example outcomes.

    Raises:
        DataError: Lists each report of another set, and outcomes that are not of the same examples.
    """
    problems, found, untold = [], {}, []
    for name in PROMPTS:
        if name not in reports:
            untold.append(_unknown(name, "was not measured", _to_measure(name, spec)))
            continue
        if problem := _of_another_set(name, reports[name], outcomes.get(name, ()), dataset):
            problems.append(problem)
            continue
        if trouble := _unusable(spec, reports[name], outcomes[name]):
            untold.append(_unknown(name, *trouble))
        else:
            found[name] = _scored(spec, name, reports[name], outcomes[name])
    examples = {frozenset(one.scores) for one in found.values()}
    if len(examples) > 1:
        sizes = ", ".join(f"{name} {len(one.scores)}" for name, one in found.items())
        problems.append(Problem(f"the prompts answered different examples ({sizes})", "evaluate them again"))
    if problems:
        raise DataError(problems)
    return found, untold


def gain(better: Scored, other: Scored, spec: PipelineSpec) -> Sequential:
    """Return by how much one prompt scores above another, with one-sided bounds at the gate's confidence."""
    from retune.stats.sequential import paired_sequential

    ids = sorted(better.scores)
    differences = [better.scores[one] - other.scores[one] for one in ids]
    groups = [better.groups[one] for one in ids]
    return paired_sequential(differences, 0.0, spec.gate.confidence, groups)


def is_shown(e_value: float, confidence: float) -> bool:
    """Say whether an e-value shows its claim: it is reached by chance in at most 1 - confidence of cases.

    Source: Ville 1939; Waudby-Smith and Ramdas 2024, JRSS-B 86:1-27.
    """
    return e_value >= 1 / (1 - confidence)


def _to_measure(name: Prompt, spec: PipelineSpec) -> str:
    # The bare question is asked whatever the spec names.
    if name == "base" or name in spec.evaluation.baselines:
        return "see why it was not answered in the log of `advise`, and clear the task"
    return f"add {name} to evaluation.baselines"


def _unknown(name: Prompt, trouble: str, action: str) -> Finding:
    return Finding(what=name, value=None, sentence=f"{TITLES[name]} ({name}) {trouble}.", action=action)


def _of_another_set(
    name: Prompt, report: EvalReport, outcomes: Sequence[Outcome], dataset: Dataset
) -> Problem | None:
    if report.set_name != "validation":
        what = (
            f"{name} was asked the {report.set_name.replace('_', '-')} set, which only the gate may look at"
        )
        return Problem(what, "evaluate it on the validation side")
    if report.set_digest != dataset.validation.artifact.digest:
        what = (
            f"{name} was asked {report.set_digest}, not this dataset's {dataset.validation.artifact.digest}"
        )
        return Problem(what, "evaluate it again")
    examples = len({one.id for one in outcomes})
    if not examples == len(outcomes) == report.n:
        what = f"{name} has {len(outcomes)} outcomes of {examples} examples, and its report is of {report.n}"
        return Problem(what, "evaluate it again")
    return None


def _unusable(spec: PipelineSpec, report: EvalReport, outcomes: Sequence[Outcome]) -> tuple[str, str] | None:
    """Say why a report's scores do not count, and what to do; None where they do."""
    metric, again = spec.gate.metric, "see the endpoint's log, and run the task again"
    if not outcomes:
        return "has no outcome", again
    if report.failed > spec.gate.max_failed * report.n:
        return f"does not count: {report.failed} of {report.n} calls failed", again
    measured = report.metrics.get(metric)
    if measured is not None and not measured.higher_is_better:
        return f"does not count: less {metric} is better, and room is seen below scores that rise", ""
    if lost := sum(not 0 <= _score(one, metric) <= 1 for one in outcomes):
        return f"does not count: {lost} of {report.n} answers have no score by {metric}", again
    return None


def _scored(spec: PipelineSpec, name: Prompt, report: EvalReport, outcomes: Sequence[Outcome]) -> Scored:
    form = spec.task.form_metric
    valid = [one.scores[form] for one in outcomes if form in one.scores and isfinite(one.scores[form])]
    return Scored(
        name=name,
        scores={one.id: _score(one, spec.gate.metric) for one in outcomes},
        groups={one.id: one.group for one in outcomes},
        valid=sum(valid) / len(valid) if valid else None,
        answers=(len({one.expected for one in outcomes}), len(outcomes)),
        report=report,
    )


def _score(outcome: Outcome, metric: str) -> float:
    # Few enough calls failed to count the prompt, and each of them helped nobody.
    return 0.0 if outcome.error else outcome.scores.get(metric, -1.0)
