"""What a metric is, and what it knows of the task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

from retune.errors import DataError
from retune.evaluation.metrics.resampling import resampled_value, units_of
from retune.evaluation.rules import AnswerRules
from retune.evaluation.schemas import AnswerSchema
from retune.records import MetricValue, Outcome
from retune.spec.data import Normalise
from retune.stats.intervals import proportion
from retune.text.labels import Labels, normalised


class NotMeasuredError(DataError):
    """A metric can say nothing of these outcomes; the figure is then absent, never NaN."""


@dataclass(frozen=True)
class Task:
    """What answers are held against: the part of a frozen spec that metrics may see."""

    kind: Literal["classification", "generation", "extraction"] = "classification"
    labels: tuple[str, ...] = ()
    """The classes; empty where any text may be an answer."""
    normalise: Normalise = Normalise()
    """How texts are brought to one form before they are held to be equal."""
    schema: AnswerSchema | None = None
    """What an extraction's answers must fit; None where any JSON will do."""
    rules: AnswerRules | None = None
    """What an answer's form must be; None where nothing is asked of it."""
    embeds: bool = False
    """Whether an endpoint that embeds texts is named."""

    @cached_property
    def _known(self) -> Labels:
        return Labels(self.labels, self.normalise)

    def label_of(self, text: str) -> str:
        """Return the label that a text is, as the spec writes it, or an empty string."""
        return self._known.match(text)

    def normalised(self, text: str) -> str:
        """Return a text in the form in which it is compared."""
        return normalised(text, self.normalise)


def only_labels(task: Task) -> str:
    """Say why a metric of labels means nothing for a task; empty where it has labels."""
    return "" if task.kind == "classification" else f"{task.kind} has no labels"


def only_texts(task: Task) -> str:
    """Say why a metric of texts means nothing for a task; empty where it is answered with one."""
    return "a label is right or wrong as a whole" if task.kind == "classification" else ""


class Metric(Protocol):
    """A figure, or some that belong together, over what a contender answered. Made without arguments."""

    name: str
    """As a spec names it."""
    higher_is_better: bool

    def unfit(self, task: Task) -> str:
        """Say why the metric means nothing for a task; empty where it fits. Asked before any example is."""
        ...

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> Mapping[str, MetricValue]:
        """Return figure -> value; one of several is named like `recall[billing]`.

        Args:
            outcomes: At least one, with the scores of `score` where the metric has them. A failed call
                has an empty answer and counts as a bad one.
            task: What answers are held against.
            confidence: Two-sided coverage of the intervals.
            seed: Makes resampled intervals repeatable.

        Raises:
            NotMeasuredError: Nothing can be said, and why.
        """
        ...


@runtime_checkable
class ScoresExamples(Protocol):
    """A metric with a score for every example: the gate can pair it, so `gate.metric` may name it."""

    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return an example's score, 0 to 1; None where it cannot be told."""
        ...


class MeanMetric(ABC):
    """A metric whose figure is the mean of the examples' scores."""

    name: str
    higher_is_better = True

    def unfit(self, task: Task) -> str:
        """Say why the metric means nothing for a task; by itself it fits every one."""
        return ""

    @abstractmethod
    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return an example's score, 0 to 1; None where it cannot be told."""

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        """Return the mean of the scores that the outcomes bring, with its interval.

        Raises:
            NotMeasuredError: No example has a score.
        """
        scores = [outcome.scores.get(self.name) for outcome in outcomes]
        value = mean_of(scores, [outcome.group for outcome in outcomes], confidence, seed)
        return {self.name: value.model_copy(update={"higher_is_better": self.higher_is_better})}


def mean_of(
    scores: Sequence[float | None], groups: Sequence[str], confidence: float, seed: int
) -> MetricValue:
    """Return the mean of scores of 0 to 1 with its interval.

    The exact interval for independent examples that are right or wrong; else the percentile bootstrap
    over groups. Where all scores are 0, or all 1, resampling would show no doubt at all: then the exact
    one of as many examples as there are groups.

    Args:
        scores: One an example; None is left out.
        groups: What else each example belongs to; empty: itself only.
        confidence: Two-sided coverage.
        seed: Makes the interval repeatable.

    Raises:
        NotMeasuredError: There is no score.
    """
    import numpy as np

    told = [(score, group) for score, group in zip(scores, groups, strict=True) if score is not None]
    if not told:
        raise NotMeasuredError("no example has a score")
    values = np.array([score for score, _ in told], dtype=np.float64)
    together = [group for _, group in told]
    value, n, independent = float(values.mean()), len(told), int(units_of(together).max()) + 1
    no_doubt = not values.any() or bool((values == 1).all())
    if no_doubt or (independent == n and bool(np.isin(values, (0, 1)).all())):
        low, high = proportion(round(value * independent), independent, confidence)
        return MetricValue(value=value, low=low, high=high, n=n)
    table = np.column_stack([values, np.ones(n)])
    return resampled_value(table, together, lambda sums: sums[:, 0] / sums[:, 1], confidence, seed)
