"""The small frozen records that one stage hands to the next."""

from retune.records.advice import Advice, AdviceVerdict, Finding
from retune.records.base import Artifact, Frozen, Record
from retune.records.evaluation import (
    Check,
    Contender,
    Decision,
    EvalReport,
    Latency,
    MetricValue,
    Outcome,
    SetName,
    Strategy,
    Verdict,
)
from retune.records.serving import DriftedColumn, DriftReport, Exchange, Release, Route, Target
from retune.records.training import Attributes, Curve, Dataset, Job, JobStatus, Model, Recipe, Split

__all__ = [
    "Advice",
    "AdviceVerdict",
    "Artifact",
    "Attributes",
    "Check",
    "Contender",
    "Curve",
    "Dataset",
    "Decision",
    "DriftReport",
    "DriftedColumn",
    "EvalReport",
    "Exchange",
    "Finding",
    "Frozen",
    "Job",
    "JobStatus",
    "Latency",
    "MetricValue",
    "Model",
    "Outcome",
    "Recipe",
    "Record",
    "Release",
    "Route",
    "SetName",
    "Split",
    "Strategy",
    "Target",
    "Verdict",
]
