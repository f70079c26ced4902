"""The metrics, one a file, found by name through the entry points `retune.metrics`."""

from retune.evaluation.metrics.base import MeanMetric, Metric, NotMeasuredError, ScoresExamples, Task
from retune.evaluation.metrics.registry import load_metric, metrics_for

__all__ = ["MeanMetric", "Metric", "NotMeasuredError", "ScoresExamples", "Task", "load_metric", "metrics_for"]
