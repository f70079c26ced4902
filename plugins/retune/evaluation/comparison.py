"""One contender against another on the same examples: over all, and slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from retune.evaluation.evidence import Evidence
from retune.records import Outcome

LABEL = "label"
"""The slice column that stands for the expected label."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one example, with their scores."""

    mine: Outcome
    theirs: Outcome
    my_score: float
    their_score: float

    @property
    def gain(self) -> float:
        """My score less theirs."""
        return self.my_score - self.their_score


@dataclass(frozen=True)
class Difference:
    """The subject's mean score less another's, on the same examples.

    Attributes:
        name: The other.
        value: The difference, -1 to 1.
        low: Its lower confidence bound, at `confidence`.
        high: Its upper one, at `confidence`.
        n: Examples that both were asked.
        confidence: Of each bound by itself.
        won: Examples on which the subject scored higher.
        lost: Examples on which it scored lower.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    confidence: float
    won: int
    lost: int


@dataclass(frozen=True)
class SliceScore:
    """How subject and rival did on one part of the set.

    Attributes:
        column: By what the set was parted.
        value: The part.
        n: Examples.
        mine: The subject's mean score.
        theirs: The rival's; None where there is none.
        judged: Whether it is large enough for the gate to judge.
    """

    column: str
    value: str
    n: int
    mine: float
    theirs: float | None
    judged: bool


def score_of(outcome: Outcome, metric: str) -> float | None:
    """Return an example's score, 0 to 1; None where there is none, or no number.

    Outcomes before 0.2 hold no scores, and say only whether they are right.
    """
    score = outcome.scores.get(metric, float(outcome.correct) if metric == "accuracy" else None)
    return score if score is not None and isfinite(score) else None


def paired(mine: Sequence[Outcome], theirs: Sequence[Outcome], metric: str) -> list[Pair]:
    """Return the examples that both were asked and that have both scores, in the order of `mine`."""
    by_id = {outcome.id: outcome for outcome in theirs}
    found = []
    for one in mine:
        other = by_id.get(one.id)
        first, second = score_of(one, metric), score_of(other, metric) if other else None
        if other is not None and first is not None and second is not None:
            found.append(Pair(one, other, first, second))
    return found


def differences(evidence: Evidence) -> list[Difference]:
    """Return the subject's gain over every other contender, each with its confidence bounds."""
    found = []
    for name, _ in evidence.contenders:
        if name != evidence.subject:
            pairs = paired(evidence.outcomes[evidence.subject], evidence.outcomes[name], evidence.metric)
            if pairs:
                found.append(difference(name, pairs, evidence.bound_confidence))
    return found


def difference(name: str, pairs: Sequence[Pair], confidence: float) -> Difference:
    """Return the mean gain over another contender, with the bounds of the test that decides.

    Args:
        name: The other.
        pairs: At least one.
        confidence: Of each bound by itself.
    """
    from retune.stats.sequential import paired_sequential

    gains = [pair.gain for pair in pairs]
    bounds = paired_sequential(gains, 0.0, confidence, groups=groups_of(pairs))
    return Difference(
        name,
        bounds.value,
        bounds.low,
        bounds.high,
        len(pairs),
        confidence,
        sum(gain > 0 for gain in gains),
        sum(gain < 0 for gain in gains),
    )


def groups_of(pairs: Sequence[Pair]) -> list[str]:
    """Return each example's group; empty where it stands alone."""
    return [pair.mine.group for pair in pairs]


def slice_scores(evidence: Evidence) -> list[SliceScore]:
    """Return the parts of the set by each slice column, the largest loss against the rival first."""
    mine, rival = evidence.outcomes[evidence.subject], evidence.rival
    theirs = {one.id: one for one in evidence.outcomes[rival]} if rival else {}
    least = evidence.spec.gate.slices.min_examples if evidence.spec.gate.slices else 1
    found = []
    for column in evidence.slice_columns:
        parts: dict[str, list[Outcome]] = {}
        for outcome in mine:
            value = outcome.expected if column == LABEL else outcome.slices.get(column)
            if value is not None:
                parts.setdefault(value, []).append(outcome)
        scored = [
            _scored(column, value, part, theirs, evidence.metric, least) for value, part in parts.items()
        ]
        found += sorted((one for one in scored if one), key=_loss_first)
    return found


def _scored(
    column: str, value: str, part: Sequence[Outcome], theirs: dict[str, Outcome], metric: str, least: int
) -> SliceScore | None:
    pairs = paired(part, [theirs[one.id] for one in part if one.id in theirs], metric)
    if pairs:
        mine = sum(pair.my_score for pair in pairs) / len(pairs)
        other = sum(pair.their_score for pair in pairs) / len(pairs)
        return SliceScore(column, value, len(pairs), mine, other, len(pairs) >= least)
    scores = [score for one in part if (score := score_of(one, metric)) is not None]
    if not scores or theirs:
        return None
    return SliceScore(column, value, len(scores), sum(scores) / len(scores), None, len(scores) >= least)


def _loss_first(part: SliceScore) -> tuple[float, float, str]:
    return (part.mine - (part.theirs or 0.0), -part.n, part.value)
