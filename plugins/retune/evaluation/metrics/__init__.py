"""The metrics, one a file. Each declares its direction in what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retune.evaluation.metrics.accuracy import accuracy
from retune.evaluation.metrics.macro_f1 import macro_f1
from retune.records import MetricValue, Outcome

Metric = Callable[[Sequence[Outcome], float, int], MetricValue]
"""(outcomes, confidence, seed) -> value with its interval."""

METRICS: dict[str, Metric] = {"accuracy": accuracy, "macro_f1": macro_f1}
