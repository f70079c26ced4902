"""The spec's recipes: one class for each kind of place that trains."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, ValidationError, field_validator, model_validator

from retune.spec.parts import Part

MAX_LORA_RANK = 64
"""Rank up to which the endpoints load adapters."""
MAX_GRID = 16
"""Most recipes that one `grid` may stand for."""


class Lora(Part):
    """Low-rank adapter (Hu et al. 2021, arXiv 2106.09685) on all linear layers."""

    r: int = Field(default=16, ge=1, le=MAX_LORA_RANK)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Recipe(Part):
    """What all recipes have. The keys of `in_place` say where it is trained, not what comes of it."""

    in_place: ClassVar[tuple[str, ...]] = ("connection",)

    base_model: str = Field(min_length=1)
    grid: dict[str, tuple[JsonValue, ...]] = {}
    """Key of the recipe -> values: a recipe for every combination, at most 16."""

    @field_validator("grid")
    @classmethod
    def _not_too_many(cls, value: dict[str, tuple[JsonValue, ...]]) -> dict[str, tuple[JsonValue, ...]]:
        count = 1
        for key, values in value.items():
            if key not in cls.model_fields or key in ("grid", "backend", *cls.in_place):
                raise ValueError(f"{key!r} is no key to try several values of")
            if any(values.count(one) > 1 for one in values):
                raise ValueError(f"{key!r} has a value twice")
            count *= len(values)
        if count > MAX_GRID or (value and not count):
            raise ValueError(f"stands for {count} recipes; 1 to {MAX_GRID} are allowed")
        return value

    @model_validator(mode="after")
    def _each_is_a_recipe(self) -> Recipe:
        if self.grid:
            self.expanded()
        return self

    def expanded(self) -> tuple[Any, ...]:
        """Return the recipes that this one stands for: itself, or one a combination of `grid`.

        Raises:
            ValueError: A combination is no recipe.
        """
        if not self.grid:
            return (self,)
        given = self.model_dump(exclude={"grid"}, exclude_unset=True)
        found = []
        for values in product(*self.grid.values()):
            chosen = dict(zip(self.grid, values, strict=True))
            try:
                found.append(type(self).model_validate(given | chosen))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(f"grid: with {chosen}, {where}: {first['msg']}") from None
        return tuple(found)

    @property
    def on_gpu_pool(self) -> bool:
        """Whether it takes a slot of the pool of one's own GPUs."""
        return False

    @property
    def window(self) -> int:
        """Most tokens of a conversation, where neither the recipe nor its service says fewer."""
        return 131_072

    @property
    def place(self) -> dict[str, str]:
        """Where it is trained, as the backend takes it."""
        return {name: str(value) for name in self.in_place if (value := getattr(self, name))}

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What goes into the recipe's identity beside its base model and its method."""
        return self.model_dump(
            mode="json", exclude={"backend", "base_model", "method", "grid", *self.in_place}
        )


class LocalRecipe(Recipe):
    """Hugging Face models on one's own hardware: on the worker, by SSH or on Kubernetes."""

    in_place: ClassVar[tuple[str, ...]] = (
        "connection", "queue", "folder", "python", "namespace", "image", "gpus", "volume",
    )  # fmt: skip

    backend: Literal["local", "ssh", "kubernetes"] = "local"
    """On the worker, on a host by SSH, or as a Kubernetes job."""
    base_model: str = Field(min_length=1)
    """A Hugging Face id, or a folder against the project's root."""
    method: Literal["sft", "dpo"] = "sft"
    """Supervised fine-tuning, or direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""
    tuning: Literal["lora", "qlora", "full"] = "lora"
    """An adapter, an adapter on a base in 4 bits (arXiv 2305.14314), or all weights."""
    lora: Lora = Lora()
    epochs: int = Field(default=3, ge=1, le=100)
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    batch_size: int = Field(default=16, ge=1)
    """Conversations a step and process."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Batches whose gradients make one step."""
    max_length: int = Field(default=1024, ge=16)
    """Tokens of a conversation; longer ones stop the run."""
    packing: bool = False
    """Several conversations in one sequence, which do not see one another."""
    patience: int = Field(default=3, ge=1)
    """Evaluations without a better validation loss before training stops."""
    beta: float = Field(default=0.1, gt=0)
    """DPO: how far the model may leave the one it starts from."""
    warm_start: Literal["", "champion"] = ""
    """`champion`: go on from the adapter that is live; from the base model where none is."""
    processes: int = Field(default=1, ge=1, le=64)
    """GPUs (on a CPU: processes) that train together."""
    queue: str = ""
    """Celery's or Kubernetes' queue of the workers with a GPU."""
    connection: str = ""
    """Airflow connection of the GPU box or the cluster."""
    folder: str = ""
    """ssh: where job directories go on that host."""
    python: str = ""
    """ssh: the interpreter that has the trainer's libraries."""
    namespace: str = ""
    """kubernetes: of the job."""
    image: str = ""
    """kubernetes: the image that has the trainer's libraries."""
    gpus: int = Field(default=0, ge=0)
    """kubernetes: GPUs that the job asks for."""
    volume: str = ""
    """kubernetes: the persistent volume claim that holds the job directories."""

    @property
    def on_gpu_pool(self) -> bool:
        """Whether it takes a slot of the pool of one's own GPUs: a cluster has its own queue."""
        return self.backend != "kubernetes"

    @property
    def window(self) -> int:
        """Most tokens of a conversation."""
        return self.max_length

    @model_validator(mode="after")
    def _place_fits(self) -> LocalRecipe:
        needed = {"local": (), "ssh": ("connection", "folder"), "kubernetes": ("image", "volume")}
        missing = [name for name in needed[self.backend] if not getattr(self, name)]
        if missing:
            raise ValueError(f"backend {self.backend} needs {' and '.join(missing)}")
        return self


class OpenAIRecipe(Recipe):
    """OpenAI, Azure, or a service with the same API."""

    backend: Literal["openai"]
    base_model: str = Field(min_length=1)
    """A model that can be tuned there, such as gpt-4.1-mini-2025-04-14."""
    method: Literal["sft", "dpo", "reinforcement"] = "sft"
    epochs: int | None = Field(default=None, ge=1, le=50)
    """None: as the service chooses."""
    batch_size: int | None = Field(default=None, ge=1, le=256)
    learning_rate_multiplier: float | None = Field(default=None, gt=0)
    beta: float | None = Field(default=None, gt=0, le=2)
    """dpo: how far the model may leave the one it starts from."""
    grader: dict[str, JsonValue] = {}
    """reinforcement: OpenAI's grader, passed on as it is."""
    reasoning_effort: Literal["", "low", "medium", "high"] = ""
    """reinforcement: of the model that is trained."""
    suffix: str = Field(default="", max_length=64)
    """Part of the tuned model's name."""
    checkpoint: Literal["last", "best"] = "last"
    """Which of the service's checkpoints becomes the model: by validation loss, or the last."""
    connection: str = "openai_default"
    """Airflow connection of the account."""

    @model_validator(mode="after")
    def _grader_fits(self) -> OpenAIRecipe:
        if (self.method == "reinforcement") != bool(self.grader):
            raise ValueError("method: reinforcement and a grader go together")
        if self.beta is not None and self.method != "dpo":
            raise ValueError(f"beta belongs to method: dpo, not {self.method}")
        return self


class VertexRecipe(Recipe):
    """Google's Vertex AI: Gemini and open models."""

    in_place: ClassVar[tuple[str, ...]] = ("connection", "location", "bucket")

    backend: Literal["vertex"]
    base_model: str = Field(min_length=1)
    """A model that can be tuned there, such as gemini-2.5-flash."""
    method: Literal["sft", "dpo"] = "sft"
    """Supervised fine-tuning, or preference tuning."""
    epochs: int | None = Field(default=None, ge=1, le=100)
    """None: as the service chooses."""
    adapter_size: Literal[1, 2, 4, 8, 16, 32] | None = None
    learning_rate_multiplier: float | None = Field(default=None, gt=0)
    beta: float | None = Field(default=None, gt=0, le=1)
    """dpo: how far the model may leave the one it starts from."""
    checkpoint: Literal["last", "best"] = "last"
    """Which of the service's checkpoints becomes the model: by validation loss, or the last."""
    connection: str = "google_cloud_default"
    """Airflow connection of the project."""
    location: str = "us-central1"
    """Region of the tuning and of its endpoint."""
    bucket: str = Field(pattern=r"^gs://[a-z0-9][a-z0-9._-]{1,220}(/.*)?$")
    """Where the rows go: gs://bucket, or a folder in it."""


class OtherRecipe(Recipe):
    """A backend that a package brings by the entry point `retune.backends`."""

    in_place: ClassVar[tuple[str, ...]] = ("connection",)

    backend: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    """The entry point's name."""
    method: str = "sft"
    options: dict[str, JsonValue] = {}
    """What that backend takes; part of the recipe's identity."""
    connection: str = ""
    """Airflow connection that the backend uses."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The options as they stand."""
        return dict(self.options)


_KINDS = {name: "local" for name in ("local", "ssh", "kubernetes")} | {"openai": "openai", "vertex": "vertex"}


def _kind(value: Any) -> str:
    backend = value.get("backend", "local") if isinstance(value, dict) else getattr(value, "backend", "local")
    return _KINDS.get(backend, "other") if isinstance(backend, str) else "other"


RecipeSpec = Annotated[
    Annotated[LocalRecipe, Tag("local")]
    | Annotated[OpenAIRecipe, Tag("openai")]
    | Annotated[VertexRecipe, Tag("vertex")]
    | Annotated[OtherRecipe, Tag("other")],
    Discriminator(_kind),
]
"""One way to make a model; several compete on the validation set."""
