"""The small frozen records that one stage hands to the next."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from retune import __version__


class Frozen(BaseModel):
    """An immutable value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(Frozen):
    """Stored bytes, or a tree of files, named by their digest."""

    digest: str
    """`sha256:<64 hex>` of the bytes, or of the tree's manifest."""
    uri: str
    """Where it lies; an fsspec URL."""
    size: int
    """Bytes."""
    media_type: str = "application/octet-stream"


class Record(Frozen):
    """Base of the records that cross stages, as plain JSON."""

    schema_version: int = 1
    spec_digest: str
    """The frozen spec that this record was made under."""
    retune_version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON types, as XCom and disk take it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read a record from plain JSON types; raises pydantic's ValidationError."""
        return cls.model_validate(data)


class Split(Frozen):
    """One side of a dataset: canonical JSONL, one conversation a line."""

    artifact: Artifact
    rows: int


class Dataset(Record):
    """What training and evaluation may see, made by `data/`."""

    pipeline: str
    digest: str
    """Hash over the three sides' digests."""
    train: Split
    validation: Split
    held_out: Split
    labels: tuple[str, ...] = ()
    """The classes, sorted; empty where the task has none."""
    sources: dict[str, str]
    """Source path -> digest of its bytes."""
    rows_read: int
    dropped: dict[str, int]
    """Reason -> rows."""
    personal: dict[str, int] = {}
    """Kind -> pieces of personal data that were found."""
    tokens: dict[str, int] = {}
    """Base model -> tokens of the training side."""
    warnings: tuple[str, ...] = ()
    """What Great Expectations warned of."""
    validation_page: Artifact
    """Great Expectations' own HTML page."""
    card: Artifact | None = None
    """The data card, an HTML page; none in records before 0.2."""
    figures: Artifact | None = None
    """The card's figures as JSON."""
    dropped_rows: Artifact | None = None
    """JSONL: each row that was left out, with its reason."""


class Recipe(Record):
    """A recipe of the spec, resolved: what exactly will be trained."""

    index: int
    """Its place in the spec."""
    backend: str
    base_model: str
    base_digest: str
    """`sha256:...` of the files, or `hf:<commit>`."""
    chat_template_digest: str
    method: Literal["sft"]
    hyperparameters: dict[str, Any]
    seed: int
    trainer: str
    """The trainer's library and major version."""

    @property
    def title(self) -> str:
        """A short name for people: backend, base model and method."""
        return (
            f"{self.backend} {self.base_model.rstrip('/').rsplit('/', 1)[-1]} {self.method} #{self.index + 1}"
        )


class JobStatus(StrEnum):
    """What a job can be; an unknown answer is none of these and counts as a failed poll."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Record):
    """A fine-tuning job: exactly one per key."""

    key: str
    """Hash of dataset, recipe, backend, account and attempt."""
    backend: str
    attempt: int
    provider_id: str
    url: str
    """Where a person can look at it."""


class Curve(Frozen):
    """One metric over the steps of a training."""

    name: str
    points: tuple[tuple[int, float], ...]


class Model(Record):
    """A model that answers: what a job made."""

    kind: Literal["adapter", "weights", "hosted"]
    digest: str
    uri: str
    base_model: str
    base_digest: str
    job_key: str
    recipe_index: int
    curves: tuple[Curve, ...] = ()
    seconds: float
    """Wall time of the training."""
    cost_usd: float = 0.0
    tracking_url: str = ""
    """The MLflow run's page."""


class Contender(Record):
    """A model plus a prompt strategy: something that can answer the task."""

    name: str
    """`base`, `candidate`, `champion`: its role before the gate."""
    model_name: str
    """What the endpoint calls it in a request."""
    model_digest: str
    strategy: Literal["plain"] = "plain"


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
