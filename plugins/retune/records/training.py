"""The records from rows to models."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from retune.records.base import Artifact, Frozen, Record


class Split(Frozen):
    """One side of a dataset: canonical JSONL, one conversation a line."""

    artifact: Artifact
    rows: int
    attributes: Artifact | None = None
    """JSONL, one line an example: `Attributes`; none in records before 0.2."""


class Attributes(Frozen):
    """What an example belongs to, beside its text."""

    id: str
    group: str = ""
    """Digest of the value of `split.group_by`; empty where there is none."""
    slices: dict[str, str] = {}
    """Column of `gate.slices.by` -> its value."""


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
    method: str
    """`sft`, `dpo`, or another that the backend knows."""
    hyperparameters: dict[str, Any]
    seed: int
    trainer: str
    """The trainer's library and major version, or the provider's API."""
    place: dict[str, str] = {}
    """Where it is trained: connection, region, queue. No part of what the model is."""

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
    place: dict[str, str] = {}
    """The recipe's: how its backend is reached; free of secrets."""


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
    cost_usd: float | None = 0.0
    """None where a price is not known."""
    tracking_url: str = ""
    """The MLflow run's page."""
    backend: str = "local"
    """Who made it, and serves it where it is hosted."""
    place: dict[str, str] = {}
    """How that backend is reached."""
    served_as: str = ""
    """What the provider calls a hosted model in a request."""
