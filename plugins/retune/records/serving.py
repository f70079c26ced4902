"""The records of what serves and what it sees."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from retune.records.base import Artifact, Frozen, Record
from retune.records.evaluation import Decision, EvalReport
from retune.records.training import Model


class Release(Record):
    """An immutable, numbered winner."""

    pipeline: str
    number: int
    model: Model
    dataset_digest: str
    decision: Decision
    dag_run_id: str
    created_at: datetime

    @property
    def report(self) -> EvalReport:
        """How the winner did on the held-out set: the reference for drift."""
        return self.decision.reports["candidate"]


class Target(Frozen):
    """A release's part of an alias."""

    release: int
    model_digest: str
    weight: int = Field(ge=0, le=100)


class Route(Record):
    """alias -> releases with weights; `version` is for compare-and-swap."""

    alias: str
    pipeline: str
    endpoint: str
    version: int
    targets: tuple[Target, ...]


class Exchange(Frozen):
    """One captured request at the gateway with its answer."""

    at: datetime
    pipeline: str
    alias: str
    release: int
    model_digest: str
    prompt: str
    """The last user message."""
    answer: str
    status: int
    latency_ms: float


class DriftedColumn(Frozen):
    """One column's distance between the reference and the window."""

    name: str
    method: str
    score: float
    threshold: float
    drifted: bool


class DriftReport(Record):
    """What moved, by how much, over which window."""

    pipeline: str
    release: int
    drifted: bool
    reason: str
    """One line: what moved, or why nothing is said."""
    columns: tuple[DriftedColumn, ...]
    reference_rows: int
    window_rows: int
    window_start: datetime
    window_end: datetime
    report: Artifact
    """Evidently's page."""
