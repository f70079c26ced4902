"""What the gate looks at, and whether it can be looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite

from retune.records import Dataset, EvalReport, Outcome
from retune.spec import PipelineSpec

CANDIDATE = "candidate"
"""The key of what is judged."""


def key_of(report: EvalReport) -> str:
    """Return under which key the gate looks for a report and its outcomes.

    The contender's name for the held-out set; `forgetting:candidate`, `safety:base` and so on for others.
    """
    name = report.contender.name
    return name if report.set_name == "held_out" else f"{report.set_name}:{name}"


@dataclass(frozen=True)
class Pairs:
    """How much better one contender did than another, example by example, in any order."""

    ids: tuple[str, ...]
    differences: tuple[float, ...]
    """First less second, -1 to 1; above 0 the first was better, whatever the metric's direction."""
    groups: tuple[str, ...] | None
    """What each example belongs to, empty where it stands for itself; None where all do."""

    @property
    def mean(self) -> float:
        """The mean difference; 0 where there is no example."""
        return fsum(self.differences) / len(self.differences) if self.differences else 0.0

    @property
    def unit(self) -> str:
        """What is independent of one another."""
        return "group" if self.groups else "example"

    @property
    def units(self) -> int:
        """How many of them there are."""
        if self.groups is None:
            return len(self.ids)
        return len(
            {(group, "" if group else name) for name, group in zip(self.ids, self.groups, strict=True)}
        )

    def only(self, ids: set[str]) -> Pairs:
        """Return the pairs of some examples."""
        kept = [number for number, name in enumerate(self.ids) if name in ids]
        return Pairs(
            tuple(self.ids[number] for number in kept),
            tuple(self.differences[number] for number in kept),
            tuple(self.groups[number] for number in kept) if self.groups else None,
        )


def pair(
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    score: Callable[[Outcome], float],
    higher_is_better: bool = True,
    *,
    proof: bool = False,
) -> Pairs:
    """Pair two contenders' outcomes by example.

    A failed call never speaks for the first: its own counts as the worst score. The second's counts as the
    best one where something is to be proven of the first: as a tie it would hide what the first lost there,
    and a margin takes ties for gains. Elsewhere it is a tie: what nobody saw is no evidence of harm.

    Args:
        first: One outcome an example.
        second: Of the same examples.
        score: An outcome's score, 0 to 1.
        higher_is_better: The direction that the metric declares.
        proof: Whether something is to be proven of the first.
    """

    def worth(outcome: Outcome) -> float:
        if outcome.error:
            return 0.0
        return score(outcome) if higher_is_better else 1 - score(outcome)

    def difference(mine: Outcome, theirs: Outcome) -> float:
        if theirs.error:
            return worth(mine) - 1 if proof else 0.0
        return worth(mine) - worth(theirs)

    theirs = {outcome.id: outcome for outcome in second}
    differences = [difference(outcome, theirs[outcome.id]) for outcome in first]
    groups = tuple(outcome.group for outcome in first)
    return Pairs(tuple(outcome.id for outcome in first), tuple(differences), groups if any(groups) else None)


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on."""

    spec: PipelineSpec
    dataset: Dataset
    reports: Mapping[str, EvalReport]
    outcomes: Mapping[str, Sequence[Outcome]]
    live: Mapping[str, str]
    """`champion` and `previous` -> digest of the release's model, where there is such a release."""

    def pairs(self, first: str, second: str, *, proof: bool = False) -> Pairs:
        """Pair two contenders on the held-out set by the gate's metric; both must be free of trouble."""
        name = self.spec.gate.metric
        direction = self.reports[first].metrics[name].higher_is_better
        mine, theirs = self.outcomes[first], self.outcomes[second]
        return pair(mine, theirs, lambda row: row.scores[name], direction, proof=proof)

    def failed(self, name: str) -> int:
        """Return how many calls to a contender failed: by its report or its outcomes, whichever is more."""
        return max(self.reports[name].failed, sum(bool(row.error) for row in self.outcomes.get(name, ())))

    def trouble(self, name: str) -> str:
        """Say why a contender's held-out evaluation is no evidence; empty where it is."""
        if name not in self.reports or name not in self.outcomes:
            return f"There is no evaluation of {name}."
        if not self.outcomes[name]:
            return f"The evaluation of {name} has no outcome."
        looks = (self._of_another, self._unmeasured, self._unlike, self._unscored, self._ungrouped)
        return " ".join(sentence for look in looks if (sentence := look(name)))

    def _of_another(self, name: str) -> str:
        """Say whether another model, or another set, was evaluated."""
        report, held_out = self.reports[name], self.dataset.held_out
        if name in self.live and report.contender.model_digest != self.live[name]:
            return f"The {name} that was evaluated is not {self.live[name]}, which is released."
        if report.set_name != "held_out" or report.set_digest != held_out.artifact.digest:
            return f"{name} was evaluated on another set than this dataset's held-out set."
        if len(self.outcomes[name]) != held_out.rows or report.n != held_out.rows:
            return f"{name} has {len(self.outcomes[name])} outcomes for {held_out.rows} held-out examples."
        return ""

    def _unmeasured(self, name: str) -> str:
        metric = self.spec.gate.metric
        found = self.reports[name].metrics.get(metric)
        if found is None:
            return f"{name} has no value of {metric}."
        if not (isfinite(found.value) and 0 <= found.value <= 1):
            return f"{name} has {found.value} of {metric}, which is none from 0 to 1."
        mine = self.reports[CANDIDATE].metrics.get(metric)
        if mine is not None and mine.higher_is_better != found.higher_is_better:
            return f"{name} and candidate disagree whether a higher {metric} is better."
        return ""

    def _unlike(self, name: str) -> str:
        """Say whether the examples are not the candidate's, each once."""
        ids = {outcome.id for outcome in self.outcomes[name]}
        if len(ids) != len(self.outcomes[name]):
            return f"{name} answered some examples twice."
        mine = {outcome.id for outcome in self.outcomes.get(CANDIDATE, ())}
        return "" if ids == mine else f"candidate and {name} were not asked the same examples."

    def _unscored(self, name: str) -> str:
        metric = self.spec.gate.metric
        scores = [outcome.scores.get(metric) for outcome in self.outcomes[name] if not outcome.error]
        bad = sum(score is None or not 0 <= score <= 1 for score in scores)
        if not bad:
            return ""
        return f"{bad} of the {len(scores)} answers of {name} have no score of {metric} from 0 to 1."

    def _ungrouped(self, name: str) -> str:
        column = self.spec.data.split.group_by
        if not column or any(outcome.group for outcome in self.outcomes[name]):
            return ""
        return f"No answer of {name} says which {column} it belongs to, though the spec groups by it."
