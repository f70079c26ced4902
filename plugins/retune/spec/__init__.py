"""The spec: the one YAML file that describes a model's whole loop."""

from retune.spec.data import Columns, Data, Normalise, SplitShares, Task
from retune.spec.evaluation import Evaluation, FewShot, Judge, LatencyProbe, People, Retrieval, Rules
from retune.spec.gate import Approval, Forgetting, Gate, Safety, Slices
from retune.spec.parts import NAME, seconds
from retune.spec.pipeline import PipelineSpec, Watch, load_spec
from retune.spec.recipes import MAX_LORA_RANK, LocalRecipe, OpenAIRecipe, Recipe, RecipeSpec, VertexRecipe

__all__ = [
    "Approval",
    "Columns",
    "Data",
    "Evaluation",
    "FewShot",
    "Forgetting",
    "Gate",
    "Judge",
    "LatencyProbe",
    "LocalRecipe",
    "MAX_LORA_RANK",
    "NAME",
    "Normalise",
    "OpenAIRecipe",
    "People",
    "PipelineSpec",
    "Recipe",
    "RecipeSpec",
    "Retrieval",
    "Rules",
    "Safety",
    "Slices",
    "SplitShares",
    "Task",
    "VertexRecipe",
    "Watch",
    "load_spec",
    "seconds",
]
