"""The records from models to decisions."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from retune.records.base import Artifact, Frozen, Record

ENDPOINT = "endpoint"
"""The `backend` of contenders on an OpenAI-compatible endpoint of one's own."""


class Contender(Record):
    """A model plus a prompt strategy: something that can answer the task."""

    name: str
    """`base`, `candidate`, `champion`: its role before the gate."""
    model_name: str
    """What its server calls it in a request."""
    model_digest: str
    strategy: Literal["plain"] = "plain"
    backend: str = ENDPOINT
    """Who serves it: an endpoint of one's own, or the backend that hosts it."""
    place: dict[str, str] = {}
    """How that is reached: `connection`, `location`; empty, as in old records: the spec's endpoint."""


class MetricValue(Frozen):
    """A measured figure with its interval."""

    value: float
    low: float
    high: float
    n: int
    higher_is_better: bool = True


class Outcome(Frozen):
    """What one contender answered to one example."""

    id: str
    prompt: str
    """The last user message."""
    expected: str
    answer: str
    """As it came; empty where the call failed."""
    predicted: str
    """The label that the answer names; empty where it names none."""
    correct: bool
    error: str = ""
    latency_s: float


class EvalReport(Record):
    """How one contender did on one set of examples."""

    contender: Contender
    set_name: Literal["validation", "held_out"]
    set_digest: str
    metrics: dict[str, MetricValue]
    outcomes: Artifact
    """JSONL, one line an example: `Outcome`."""
    n: int
    failed: int
    """Calls that brought no answer."""
    latency_p50_s: float
    latency_p95_s: float
    """Of the bulk run, under load: for orientation, never for a latency rule."""
    seconds: float


class Verdict(StrEnum):
    """The gate's words."""

    PROMOTE = "PROMOTE"
    REJECT = "REJECT"
    INCONCLUSIVE = "INCONCLUSIVE"


class Check(Frozen):
    """One rule of the gate with its numbers."""

    name: str
    verdict: Verdict
    """PROMOTE: passed. REJECT: shown to fail. INCONCLUSIVE: not settled."""
    value: float | None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int
    sentence: str
    """One plain sentence for people."""


class Decision(Record):
    """The gate's answer with its evidence."""

    verdict: Verdict
    reason: str
    checks: tuple[Check, ...]
    candidate: Contender
    reports: dict[str, EvalReport]
    """Contender name -> how it did: the evidence."""
    dataset_digest: str
    report: Artifact | None = None
    """A page that shows the evidence."""
