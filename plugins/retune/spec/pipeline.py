"""PipelineSpec: the one YAML file that describes a model's whole loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from retune.artifacts import digest_of_json
from retune.documents import read_document
from retune.spec.data import Data, Task
from retune.spec.parts import NAME, Duration, Part, readable_cron
from retune.spec.retention import Retention

MAX_LORA_RANK = 64
"""Rank up to which the endpoints load adapters."""


class Schedule(Part):
    """When the pipeline tunes by itself; new data and drift wake it in between."""

    cron: str = "0 3 * * 1"
    """Five cron fields."""
    timezone: str = "UTC"

    _cron = field_validator("cron")(readable_cron)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no time zone of the IANA database, such as Europe/Berlin") from None
        return value


class Lora(Part):
    """Low-rank adapter (Hu et al. 2021, arXiv 2106.09685) on all linear layers."""

    r: int = Field(default=16, ge=1, le=MAX_LORA_RANK)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class RecipeSpec(Part):
    """One way to make a model; several compete on the validation set."""

    backend: Literal["local"] = "local"
    base_model: str
    """A Hugging Face id, or a folder against the project's root."""
    method: Literal["sft"] = "sft"
    lora: Lora = Lora()
    epochs: int = Field(default=3, ge=1, le=100)
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    batch_size: int = Field(default=16, ge=1)
    max_length: int = Field(default=1024, ge=16)
    """Tokens of a conversation; longer ones stop the run."""
    patience: int = Field(default=3, ge=1)
    """Evaluations without a better validation loss before training stops."""


class Evaluation(Part):
    """Where and how contenders answer."""

    endpoint: str
    """Airflow connection of an OpenAI-compatible endpoint."""
    max_in_flight: int = Field(default=32, ge=1, le=1000)
    max_tokens: int = Field(default=32, ge=1)
    timeout: Duration = "60s"


class Beats(Part):
    """Least gain over a contender, shown at the gate's confidence."""

    base: float = Field(default=0.0, ge=0, lt=1)


class NotWorseThan(Part):
    """Margin by which the candidate may be worse than a contender."""

    champion: float = Field(default=0.01, gt=0, lt=1)


class Gate(Part):
    """What a candidate must show on the held-out set."""

    metric: Literal["accuracy"] = "accuracy"
    confidence: float = Field(default=0.95, ge=0.8, lt=1)
    min_examples: int = Field(default=50, ge=10)
    max_failed: float = Field(default=0.01, ge=0, lt=1)
    """Share of calls that may bring no answer."""
    beats: Beats = Beats()
    not_worse_than: NotWorseThan = NotWorseThan()


class Deploy(Part):
    """Where the winner serves."""

    endpoint: str
    """Name of the endpoint that agents serve."""
    alias: str = Field(pattern=NAME)
    """The `model` that callers ask the gateway for."""


class Retrain(Part):
    """When drift may start a training."""

    cooldown: Duration = "24h"
    """Least time between two runs that drift starts."""


class Watch(Part):
    """How traffic is compared with what the live release was judged on."""

    schedule: str = "@hourly"
    """Cron fields or a preset."""
    min_requests: int = Field(default=100, ge=20)
    """Fewer captured requests since the release say nothing."""
    window: int = Field(default=1000, ge=20)
    """Newest captured requests that are compared."""
    drift_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the compared columns that must have moved."""
    retrain: Retrain = Retrain()

    _cron = field_validator("schedule")(readable_cron)


class PipelineSpec(Part):
    """A pipeline: the data, the recipes to try, the gate, the endpoint, the watch."""

    version: Literal[1]
    pipeline: str = Field(pattern=NAME)
    owner: str = "retune"
    schedule: Schedule = Schedule()
    data: Data
    task: Task = Task()
    seed: int = 7
    recipes: tuple[RecipeSpec, ...] = Field(min_length=1)
    evaluation: Evaluation
    gate: Gate = Gate()
    deploy: Deploy
    watch: Watch = Watch()
    retention: Retention = Retention()

    @field_validator("pipeline")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value == "retune":
            raise ValueError("the name is reserved for the fleet's DAGs")
        return value

    @field_validator("recipes")
    @classmethod
    def _one_base_model(cls, value: tuple[RecipeSpec, ...]) -> tuple[RecipeSpec, ...]:
        if len({recipe.base_model for recipe in value}) > 1:
            raise ValueError("several base models, but one endpoint serves adapters of one base model")
        return value

    @model_validator(mode="after")
    def _caps_fit(self) -> PipelineSpec:
        if self.data.caps.label is not None and self.task.kind != "classification":
            raise ValueError(f"data.caps.label: a {self.task.kind} has no labels; take it out")
        return self

    @property
    def digest(self) -> str:
        """Digest of the spec's canonical JSON: comments and key order do not matter."""
        return digest_of_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON that `from_json` reads back."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PipelineSpec:
        """Read a frozen spec, as `to_json` wrote it."""
        return cls.model_validate(data)


def load_spec(path: Path) -> PipelineSpec:
    """Read a pipeline's YAML.

    Raises:
        SpecError: Lists every unknown key, wrong type and impossible combination with its line.
    """
    return read_document(path, PipelineSpec)
