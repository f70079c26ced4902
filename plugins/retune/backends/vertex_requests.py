"""What is asked of Vertex AI for a recipe, and the labels by which a job is found again.

Labels: up to 63 lower-case letters, digits, `_` and `-` (docs.cloud.google.com/resource-manager/docs/
labels-overview). A key has 64 hex digits, so that its first sixty stand for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from retune.backends.base import Order
from retune.backends.vertex_errors import is_open
from retune.errors import Problem

if TYPE_CHECKING:
    from google.genai import types

KEY, CHECKPOINT, PIPELINE = "retune_key", "retune_checkpoint", "retune_pipeline"
_METHODS = {"sft": "SUPERVISED_FINE_TUNING", "dpo": "PREFERENCE_TUNING"}
_ADAPTERS = {1: "ONE", 2: "TWO", 4: "FOUR", 8: "EIGHT", 16: "SIXTEEN", 32: "THIRTY_TWO"}


def label_of(key: str) -> str:
    """Return the label that stands for a job's key."""
    return key[:60]


def carries(job: types.TuningJob, key: str) -> bool:
    """Say whether a job has a key's label."""
    return (job.labels or {}).get(KEY) == label_of(key)


def wants_best(job: types.TuningJob) -> bool:
    """Say whether a job's recipe asked for its best checkpoint."""
    return (job.labels or {}).get(CHECKPOINT) == "best"


def problems_of_recipe(order: Order, bucket: str) -> Iterator[Problem]:
    """Yield what Vertex AI would refuse of a recipe.

    Args:
        order: With the recipe.
        bucket: Where its rows are to go.
    """
    recipe = order.recipe
    given = recipe.hyperparameters
    if not bucket.startswith("gs://"):
        yield Problem("the recipe names no bucket", "set `bucket` to gs://...")
    if recipe.method not in _METHODS:
        yield Problem(f"Vertex AI has no method {recipe.method!r}", f"choose {' or '.join(_METHODS)}")
    if given.get("beta") is not None and recipe.method != "dpo":
        yield Problem("`beta` belongs to method dpo", "leave it out")
    if given.get("adapter_size") not in (None, *_ADAPTERS):
        what = f"adapter_size is {given['adapter_size']}"
        yield Problem(what, f"choose {', '.join(map(str, _ADAPTERS))}")
    if not is_open(recipe.base_model):
        return
    if recipe.method != "sft":
        yield Problem(f"{recipe.base_model} is tuned by method sft only", "set `method: sft`")
    if given.get("learning_rate_multiplier") is not None:
        what = f"{recipe.base_model} is an open model and takes no `learning_rate_multiplier`"
        yield Problem(what, "leave it out")
    if given.get("checkpoint") == "best":
        yield Problem(f"{recipe.base_model} is an open model, of which the last state is kept", "set `last`")


def config_of(order: Order, validation: str, bucket: str) -> dict[str, Any]:
    """Return the fields of google-genai's `CreateTuningJobConfig` for an order.

    Args:
        order: What to tune.
        validation: gs:// of the validation rows.
        bucket: Where an open model goes.
    """
    from google.genai import types

    recipe = order.recipe
    given = recipe.hyperparameters
    size, checkpoint = given.get("adapter_size"), given.get("checkpoint", "last")
    found: dict[str, Any] = {
        "method": _METHODS[recipe.method],
        "validation_dataset": types.TuningValidationDataset(gcs_uri=validation),
        "tuned_model_display_name": f"retune {order.dataset.pipeline} {order.key[:12]}",
        "labels": {
            KEY: label_of(order.key),
            PIPELINE: order.dataset.pipeline,
            CHECKPOINT: checkpoint,
        },
        "epoch_count": given.get("epochs"),
        "adapter_size": f"ADAPTER_SIZE_{_ADAPTERS[size]}" if size else None,
        "learning_rate_multiplier": given.get("learning_rate_multiplier"),
        "beta": given.get("beta"),
    }
    if is_open(recipe.base_model):
        found["output_uri"] = f"{bucket}/retune/models/{order.key}"
        found["tuning_mode"] = "TUNING_MODE_PEFT_ADAPTER" if size else None
    else:
        found["export_last_checkpoint_only"] = checkpoint != "best"
    return {name: value for name, value in found.items() if value is not None}
