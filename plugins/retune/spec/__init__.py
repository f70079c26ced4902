"""The spec: the one YAML file that describes a model's whole loop."""

from retune.spec.data import Columns, Data, SplitShares
from retune.spec.parts import NAME, seconds
from retune.spec.pipeline import MAX_LORA_RANK, PipelineSpec, RecipeSpec, Watch, load_spec

__all__ = [
    "MAX_LORA_RANK",
    "NAME",
    "Columns",
    "Data",
    "PipelineSpec",
    "RecipeSpec",
    "SplitShares",
    "Watch",
    "load_spec",
    "seconds",
]
