"""One contender against another on the same examples: over all, and slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from retune.evaluation.evidence import Evidence
from retune.evaluation.gate.evidence import pair as as_in_gate
from retune.records import Outcome

LABEL = "label"
"""The slice column that stands for the expected label."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one example, with their scores, and by how much mine is the better one, -1 to 1."""

    mine: Outcome
    theirs: Outcome
    my_score: float
    their_score: float
    gain: float


@dataclass(frozen=True)
class Difference:
    """By how much the subject is better than another, on the same examples.

    Attributes:
        name: The other.
        value: The mean gain, -1 to 1; above 0 is better, whichever the metric's direction.
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
        gain: By how much the subject is better, -1 to 1; None where there is no rival.
    """

    column: str
    value: str
    n: int
    mine: float
    theirs: float | None
    judged: bool
    gain: float | None = None


def score_of(outcome: Outcome, metric: str, higher_is_better: bool = True) -> float | None:
    """Return an example's score, 0 to 1; None where there is none, or no number.

    A failed call has the worst one. Outcomes before 0.2 hold no scores, and say only whether they are right.
    """
    if outcome.error:
        return 0.0 if higher_is_better else 1.0
    score = outcome.scores.get(metric, float(outcome.correct) if metric == "accuracy" else None)
    return score if score is not None and isfinite(score) else None


def paired(
    mine: Sequence[Outcome],
    theirs: Sequence[Outcome],
    metric: str,
    *,
    higher_is_better: bool = True,
    proof: bool = False,
    two_sided: bool = False,
) -> list[Pair]:
    """Return the examples that both were asked and that have both scores, in the order of `mine`.

    Gains are the gate's, for which a failed call never speaks.

    Args:
        mine: The subject's outcomes.
        theirs: The other's.
        metric: Whose scores are compared.
        higher_is_better: The direction that the metric declares.
        proof: Whether something is to be proven of the subject, as the gate's claims ask.
        two_sided: Whether it is open which is the better one: then a failed call of either is a tie.
    """

    def score(outcome: Outcome) -> float | None:
        return score_of(outcome, metric, higher_is_better)

    by_id = {outcome.id: outcome for outcome in theirs}
    found = []
    for one in mine:
        other = by_id.get(one.id)
        if other is None or (first := score(one)) is None or (second := score(other)) is None:
            continue
        (gain,) = as_in_gate(
            [one], [other], lambda row: score(row) or 0.0, higher_is_better, proof=proof
        ).differences
        tie = two_sided and (one.error or other.error)
        found.append(Pair(one, other, first, second, 0.0 if tie else gain))
    return found


def against(evidence: Evidence, name: str, *, proof: bool = True) -> list[Pair]:
    """Return the subject's examples beside those of another contender, by the metric that decides."""
    return paired(
        evidence.outcomes[evidence.subject],
        evidence.outcomes[name],
        evidence.metric,
        higher_is_better=evidence.higher_is_better,
        proof=proof,
        two_sided=evidence.two_sided,
    )


def differences(evidence: Evidence) -> list[Difference]:
    """Return the subject's gain over every other contender, each with its confidence bounds."""
    found = []
    for name, _ in evidence.contenders:
        if name != evidence.subject and (pairs := against(evidence, name)):
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
    rival, slices = evidence.rival, evidence.spec.gate.slices
    # As of a guard: what nobody saw of the rival is no evidence of harm.
    pairs = {one.mine.id: one for one in against(evidence, rival, proof=False)} if rival else None
    least = slices.min_examples if slices else 1
    found = []
    for column in evidence.slice_columns:
        parts: dict[str, list[Outcome]] = {}
        for outcome in evidence.outcomes[evidence.subject]:
            value = outcome.expected if column == LABEL else outcome.slices.get(column)
            if value is not None:
                parts.setdefault(value, []).append(outcome)
        scored = [_scored(column, value, part, pairs, evidence, least) for value, part in parts.items()]
        found += sorted((one for one in scored if one), key=lambda one: _loss_first(one, evidence))
    return found


def _scored(
    column: str,
    value: str,
    part: Sequence[Outcome],
    pairs: Mapping[str, Pair] | None,
    evidence: Evidence,
    least: int,
) -> SliceScore | None:
    if pairs is not None:
        both = [pairs[one.id] for one in part if one.id in pairs]
        if not both:
            return None
        mine, theirs, gain = (fmean(of) for of in zip(*map(_figures, both), strict=True))
        return SliceScore(column, value, len(both), mine, theirs, len(both) >= least, gain)
    told = (score_of(one, evidence.metric, evidence.higher_is_better) for one in part)
    scores = [score for score in told if score is not None]
    if not scores:
        return None
    return SliceScore(column, value, len(scores), fmean(scores), None, len(scores) >= least)


def _figures(pair: Pair) -> tuple[float, float, float]:
    return (pair.my_score, pair.their_score, pair.gain)


def _loss_first(part: SliceScore, evidence: Evidence) -> tuple[float, float, str]:
    alone = part.mine if evidence.higher_is_better else -part.mine
    return (alone if part.gain is None else part.gain, -part.n, part.value)
