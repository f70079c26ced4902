"""PipelineSpec: the one YAML file that describes a model's whole loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from retune.artifacts import digest_of_json
from retune.documents import read_document
from retune.spec.advice import Advising
from retune.spec.budget import Budget
from retune.spec.data import Data, Task
from retune.spec.evaluation import Evaluation
from retune.spec.gate import Gate
from retune.spec.parts import NAME, Duration, Part, readable_cron
from retune.spec.recipes import LocalRecipe, RecipeSpec
from retune.spec.retention import Retention

MAX_RECIPES = 32
"""Most recipes of a run."""


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


class Training(Part):
    """How long trainings are waited for, and what ends them."""

    timeout: Duration = "24h"
    """Of a recipe; a job that takes longer goes on and is adopted by the next run."""
    when_cleared: Literal["cancel", "keep"] = "cancel"
    """What becomes of a job whose task is cleared or marked by hand: cancelled, or adopted next time."""


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
    training: Training = Training()
    budget: Budget = Budget()
    evaluation: Evaluation
    advice: Advising = Advising()
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
    def _fit_together(cls, value: tuple[RecipeSpec, ...]) -> tuple[RecipeSpec, ...]:
        every = [one for recipe in value for one in recipe.expanded()]
        local = [recipe for recipe in every if isinstance(recipe, LocalRecipe)]
        if len({recipe.base_model for recipe in local}) > 1:
            raise ValueError("several local base models, but one endpoint serves adapters of one base model")
        if len({recipe.queue for recipe in local}) > 1:
            raise ValueError("several queues, but one task trains all local recipes")
        if len(every) > MAX_RECIPES:
            raise ValueError(f"stand for {len(every)} recipes, at most {MAX_RECIPES} are tried in a run")
        return value

    @model_validator(mode="after")
    def _caps_fit(self) -> PipelineSpec:
        if self.data.caps.label is not None and self.task.kind != "classification":
            raise ValueError(f"data.caps.label: a {self.task.kind} has no labels; take it out")
        return self

    @model_validator(mode="after")
    def _gate_fits(self) -> PipelineSpec:
        for rule in ("beats", "not_worse_than"):
            # Base is asked where it is claimed against.
            for name in ("few_shot", "rag", "previous"):
                claimed = getattr(getattr(self.gate, rule), name) is not None
                if claimed and name not in self.evaluation.baselines:
                    raise ValueError(
                        f"gate.{rule}.{name}: nobody asks it; add {name} to evaluation.baselines"
                    )
        if self.gate.slices and "label" in self.gate.slices.by and self.task.kind != "classification":
            raise ValueError(f"gate.slices.by: a {self.task.kind} has no labels; name columns of the rows")
        formless = self.task.kind == "generation" and not self.evaluation.rules.given
        if formless and self.gate.valid_format is not None:
            raise ValueError("gate.valid_format: a free text keeps evaluation.rules; give some there")
        return self

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """The source rows' columns of which each value is a slice of the held-out set."""
        by = self.gate.slices.by if self.gate.slices else ()
        return tuple(dict.fromkeys(name for name in by if name != "label"))

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns beside the conversation that every row must have."""
        return tuple(dict.fromkeys((*self.data.named_columns, *self.slice_columns)))

    @property
    def candidates(self) -> tuple[RecipeSpec, ...]:
        """The recipes in their order, each `grid` as the recipes that it stands for."""
        return tuple(found for recipe in self.recipes for found in recipe.expanded())

    @property
    def queue(self) -> str:
        """Queue of the workers that train the local recipes; empty for the default one."""
        return next((recipe.queue for recipe in self.recipes if isinstance(recipe, LocalRecipe)), "")

    @property
    def windows(self) -> dict[str, int]:
        """Base model -> most tokens of a conversation, by the recipe that takes fewest."""
        found: dict[str, int] = {}
        for recipe in self.candidates:
            found[recipe.base_model] = min(recipe.window, found.get(recipe.base_model, recipe.window))
        return found

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
