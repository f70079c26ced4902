"""Which models can be tuned where, and with which adapters.

Read in November 2026, below https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/:
`tuning/supervised-tuning` (adapter sizes; regions of the 3.x models, none are named for 2.5),
`gemini-preference-tuning`, `open-model-tuning` (models, regions). That `global` is refused for Gemini says
Google's tuning skill for agents. Which size is the default, and the words of a refused model or region,
are published nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from retune.testing.emulators.options import Options
from retune.testing.emulators.vertex_refusals import VertexRefused

_SIZES = {"ONE": 1, "TWO": 2, "FOUR": 4, "EIGHT": 8, "SIXTEEN": 16, "THIRTY_TWO": 32}
ADAPTER_SIZES = {f"ADAPTER_SIZE_{name}": rank for name, rank in _SIZES.items()}
"""Adapter size by name -> its rank."""
_FLASH = (8, 1, 2, 4, 16)
_NEW_REGIONS = ("us-central1", "europe-west4")
_OPEN_REGIONS = ("global", "us-central1", "europe-west4", "us-west1", "us-east5", "asia-southeast1")


@dataclass(frozen=True)
class BaseModel:
    """A model that can be tuned.

    Attributes:
        name: As jobs name it.
        ranks: The adapters' ranks that it takes; the first is the default.
        regions: Where it can be tuned; empty where Google names no regions.
        is_open: Whether its weights are open: its result is files in a bucket, without an endpoint.
    """

    name: str
    ranks: tuple[int, ...]
    regions: tuple[str, ...] = ()
    is_open: bool = False


_GEMINI = (
    BaseModel("gemini-3.5-flash", _FLASH, _NEW_REGIONS),
    BaseModel("gemini-3.5-flash-lite", _FLASH, _NEW_REGIONS),
    BaseModel("gemini-3.1-flash-lite", _FLASH, _NEW_REGIONS),
    BaseModel("gemini-2.5-pro", (4, 1, 2, 8)),
    BaseModel("gemini-2.5-flash", _FLASH),
    BaseModel("gemini-2.5-flash-lite", _FLASH),
)
_OPEN = (
    "google/gemma3@gemma-3-1b-it",
    "google/gemma3@gemma-3-4b-it",
    "google/gemma3@gemma-3-12b-it",
    "google/gemma3@gemma-3-27b-it",
    "meta/llama3_1@llama-3.1-8b",
    "meta/llama3_1@llama-3.1-8b-instruct",
    "meta/llama3-2@llama-3.2-1b-instruct",
    "meta/llama3-2@llama-3.2-3b-instruct",
    "meta/llama3-3@llama-3.3-70b-instruct",
    "meta/llama4@llama-4-scout-17b-16e-instruct",
    "qwen/qwen3@qwen3-4b",
    "qwen/qwen3@qwen3-8b",
    "qwen/qwen3@qwen3-14b",
    "qwen/qwen3@qwen3-32b",
)
_KNOWN = {model.name: model for model in _GEMINI} | {
    name: BaseModel(name, (16, 1, 4, 8, 32), _OPEN_REGIONS, is_open=True) for name in _OPEN
}


def find_model(name: str, options: Options, now: float) -> BaseModel | None:
    """Return a model; None where there is none, or where it has been shut down.

    Args:
        name: Such as `gemini-2.5-flash`; `publishers/google/models/` may stand before it.
        options: Name more models, or the dates of the known ones.
        now: Seconds since 1970.
    """
    short = re.sub(r"^publishers/(google/models/|(\w[\w-]*)/models/)", _publisher, name)
    date = options.models.get(short)
    if date is not None and datetime.fromtimestamp(now, UTC).date().isoformat() >= date:
        return None
    given = BaseModel(short, _FLASH) if short in options.models else None
    return _KNOWN.get(short, given)


def tunable(name: str, location: str, options: Options, now: float) -> BaseModel:
    """Return a model that can be tuned in a region.

    Args:
        name: The job's base model.
        location: The job's region.
        options: Name more models, or the dates of the known ones.
        now: Seconds since 1970.

    Raises:
        Refused: There is no such model (any more), or not there.
    """
    model = find_model(name, options, now)
    if model is None:
        raise VertexRefused(400, f"Base model {name} is not supported.")
    if location == "global" and not model.is_open:
        message = f"Base model {name} does not support global endpoint tuning."
        raise VertexRefused(400, message, kind="FAILED_PRECONDITION")
    if model.regions and location not in model.regions:
        regions = ", ".join(model.regions)
        message = f"Tuning of base model {name} is not supported in region {location}. Supported: {regions}."
        raise VertexRefused(400, message, kind="FAILED_PRECONDITION")
    return model


def adapter_size(model: BaseModel, given: str) -> str:
    """Return the adapter size of a job, by name; raises Refused where the model does not take it.

    The words were seen in https://github.com/googleapis/python-genai/issues/908.
    """
    names = {rank: name for name, rank in ADAPTER_SIZES.items()}
    if given in ("", "ADAPTER_SIZE_UNSPECIFIED"):
        return names[model.ranks[0]]
    if ADAPTER_SIZES[given] not in model.ranks:
        raise VertexRefused(400, "The adapter size is not supported for this base model.")
    return given


def _publisher(match: re.Match[str]) -> str:
    return f"{match[2]}/" if match[2] else ""
