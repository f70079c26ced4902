"""Accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from retune.records import MetricValue, Outcome
from retune.stats.intervals import wilson


def accuracy(outcomes: Sequence[Outcome], confidence: float, seed: int) -> MetricValue:
    """Return the share of right answers with its Wilson interval; a failed call is not right."""
    right = sum(outcome.correct for outcome in outcomes)
    low, high = wilson(right, len(outcomes), confidence)
    return MetricValue(value=right / len(outcomes), low=low, high=high, n=len(outcomes))
