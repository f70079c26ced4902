"""The spec: the one YAML file that describes a model's whole loop."""

from retune.spec.data import Columns, Data, SplitShares
from retune.spec.parts import NAME, seconds
from retune.spec.pipeline import PipelineSpec, Watch, load_spec
from retune.spec.recipes import MAX_LORA_RANK, LocalRecipe, OpenAIRecipe, Recipe, RecipeSpec, VertexRecipe

__all__ = [
    "MAX_LORA_RANK",
    "NAME",
    "Columns",
    "Data",
    "LocalRecipe",
    "OpenAIRecipe",
    "PipelineSpec",
    "Recipe",
    "RecipeSpec",
    "SplitShares",
    "VertexRecipe",
    "Watch",
    "load_spec",
    "seconds",
]
