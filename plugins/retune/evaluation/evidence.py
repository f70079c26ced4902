"""What a page, its JSON and a model card are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retune.records import Contender, Dataset, Decision, EvalReport, Latency, Model, Outcome
from retune.spec import PipelineSpec, seconds

ORDER = ("base", "few_shot", "rag", "previous", "champion", "candidate")


@dataclass(frozen=True)
class LearningCurve:
    """What more training rows bring.

    Attributes:
        points: (training rows, score, examples that it was measured on).
        predicted: (training rows, score, low, high) of the fitted curve; empty where none was fitted.
        sentence: What it says, with the price of the next point where that is known.
    """

    points: tuple[tuple[int, float, int], ...]
    predicted: tuple[tuple[int, float, float, float], ...] = ()
    sentence: str = ""


@dataclass(frozen=True)
class Opinion:
    """What a judge or people said of the candidate against its rival.

    Attributes:
        source: Who, such as `LLM judge` or `people`.
        sentence: What came of it, and whether it counts.
        figures: Name -> value, such as `agreement`, `kappa`, `wins`.
    """

    source: str
    sentence: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """What is shown beside the scores, where there is any.

    Attributes:
        findings: Sentences: advice before the training, diagnosis after it.
        learning_curve: What more rows bring.
        opinions: Of judges and people.
    """

    findings: tuple[str, ...] = ()
    learning_curve: LearningCurve | None = None
    opinions: tuple[Opinion, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """How contenders did on one set, and what was made of it.

    Attributes:
        spec: The frozen spec.
        reports: Name -> report; beside those of the set, guards' such as `safety:candidate`.
        outcomes: The same names: per-example outcomes.
        subject: Whom the page is about: one of the names.
        labels: The classes; empty where the task has none.
        decision: What the gate said; None where it was not asked.
        dataset: What was trained and judged on; None where rows of a file were asked.
        model: The subject's model; None where nothing is known of its training.
        headline: One sentence above all, where no gate was asked.
        two_sided: Whether both ends of a gain hold the gate's confidence together, as where it is
            open which of two is better; else each end does by itself, as the gate's claims ask.
        held_out_uses: Runs that had used the held-out set, this one counted; 0 where not counted.
        beside: What is shown beside the scores.
    """

    spec: PipelineSpec
    reports: Mapping[str, EvalReport]
    outcomes: Mapping[str, Sequence[Outcome]]
    subject: str = "candidate"
    labels: tuple[str, ...] = ()
    decision: Decision | None = None
    dataset: Dataset | None = None
    model: Model | None = None
    headline: str = ""
    two_sided: bool = False
    held_out_uses: int = 0
    beside: Beside = Beside()

    @property
    def report(self) -> EvalReport:
        """The subject's report."""
        return self.reports[self.subject]

    @property
    def contenders(self) -> list[tuple[str, EvalReport]]:
        """Who answered the subject's set, in the order of their roles."""
        mine = self.report
        found = [(name, one) for name, one in self.reports.items() if one.set_digest == mine.set_digest]
        return sorted(found, key=lambda entry: _rank(entry[0]))

    @property
    def other_sets(self) -> list[tuple[str, EvalReport]]:
        """Who answered another set, such as that on forgetting."""
        mine = self.report
        return [(name, one) for name, one in self.reports.items() if one.set_digest != mine.set_digest]

    @property
    def rival(self) -> str:
        """Whom the subject is held against example by example; empty where it stands alone."""
        others = [name for name, _ in self.contenders if name != self.subject]
        return next((name for name in ("champion", "base") if name in others), others[0] if others else "")

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return self.spec.gate.metric

    @property
    def higher_is_better(self) -> bool:
        """The direction that it declares."""
        found = self.report.metrics.get(self.metric)
        return found is None or found.higher_is_better

    @property
    def metrics(self) -> list[str]:
        """Every metric of the contenders, in their order; those of single labels left out."""
        names = [name for _, report in self.contenders for name in report.metrics]
        return [name for name in dict.fromkeys(names) if "[" not in name]

    @property
    def bound_confidence(self) -> float:
        """Confidence of one end of a gain by itself."""
        confidence = self.spec.gate.confidence
        return (1 + confidence) / 2 if self.two_sided else confidence

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """By what the examples are parted: as the gate asks, else by label."""
        if self.spec.gate.slices:
            return self.spec.gate.slices.by
        return ("label",) if self.labels else ()


def of_decision(
    spec: PipelineSpec,
    dataset: Dataset,
    decision: Decision,
    reports: Mapping[str, EvalReport],
    outcomes: Mapping[str, Sequence[Outcome]],
    model: Model,
    beside: Beside | None = None,
) -> Evidence:
    """Return the evidence of a gate's decision.

    Args:
        spec: The frozen spec.
        dataset: What was trained and judged on.
        decision: What the gate said.
        reports: Contender name -> report; `candidate` among them.
        outcomes: The same keys: per-example outcomes.
        model: The candidate's model.
        beside: What is shown beside.
    """
    return Evidence(
        spec=spec,
        reports=reports,
        outcomes=outcomes,
        labels=dataset.labels,
        decision=decision,
        dataset=dataset,
        model=model,
        held_out_uses=decision.held_out_uses,
        beside=beside or Beside(),
    )


def described(contender: Contender) -> str:
    """Say in a few words who a contender is and where it answers."""
    asked = {"few_shot": "with examples", "rag": "with documents"}.get(contender.strategy, "")
    where = "" if contender.backend == "endpoint" else f"at {contender.backend}"
    return ", ".join(part for part in (asked, where) if part)


def upper_end(latency: Latency, spec: PipelineSpec) -> float | None:
    """Return the upper end of a 95th percentile, seconds; None where only the time-out bounds it.

    A small sample has no such end (`retune.evaluation.latency.quantile_bounds`).
    """
    return latency.p95_high_s if latency.p95_high_s < seconds(spec.evaluation.timeout) else None


def _rank(name: str) -> tuple[int, str]:
    role = name.partition("+")[0]
    return (ORDER.index(role) if role in ORDER else len(ORDER), name)
