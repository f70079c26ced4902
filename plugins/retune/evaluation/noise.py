"""How far a contender's scores vary by themselves: the same examples asked again.

Greedy answers are not bit for bit the same from run to run: batches are put together otherwise, and sums
of floating-point numbers round otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from retune.records import MetricValue, Outcome
from retune.stats.intervals import proportion
from retune.text.conversations import Conversation


def asked_again(examples: Sequence[Conversation], count: int, seed: int) -> list[Conversation]:
    """Return the examples that are asked twice, drawn by a seed.

    Args:
        examples: The set.
        count: Of `evaluation.noise_examples`; all where the set is smaller.
        seed: The spec's.
    """
    return random.Random(seed).sample(list(examples), min(count, len(examples)))


def noise_of(
    first: Sequence[Outcome], again: Sequence[Outcome], metric: str, confidence: float
) -> MetricValue | None:
    """Return the share of examples whose score changed; None where none was answered twice.

    Args:
        first: What was answered to the whole set.
        again: What was answered to some of it once more.
        metric: Whose scores are compared.
        confidence: Two-sided coverage of the interval.
    """
    before = {outcome.id: outcome.scores[metric] for outcome in first if _counts(outcome, metric)}
    pairs = [
        (before[outcome.id], outcome.scores[metric])
        for outcome in again
        if outcome.id in before and _counts(outcome, metric)
    ]
    if not pairs:
        return None
    changed, n = sum(one != other for one, other in pairs), len(pairs)
    low, high = proportion(changed, n, confidence)
    return MetricValue(value=changed / n, low=low, high=high, n=n, higher_is_better=False)


def _counts(outcome: Outcome, metric: str) -> bool:
    # A call that failed says nothing of how answers vary.
    return not outcome.error and metric in outcome.scores
