"""Who can answer before anything is trained."""

from __future__ import annotations

from retune.evaluation.contenders import prompted
from retune.records import Contender, Recipe, Strategy
from retune.records.evaluation import ENDPOINT
from retune.spec import PipelineSpec

_SERVED_HERE = ("sha256:", "hf:")


def prompts(recipe: Recipe, spec: PipelineSpec) -> list[Contender]:
    """Return a recipe's base model as it is, and with each prompt that the spec compares with.

    Args:
        recipe: The resolved recipe.
        spec: The frozen spec.
    """
    here = recipe.base_digest.startswith(_SERVED_HERE)
    base = Contender(
        spec_digest=spec.digest,
        name="base",
        model_name=recipe.base_model,
        model_digest=recipe.base_digest,
        backend=ENDPOINT if here else recipe.backend,
        place={"connection": spec.evaluation.endpoint} if here else recipe.place,
    )
    strategies: tuple[Strategy, ...] = ("few_shot", "rag")
    asked = [strategy for strategy in strategies if strategy in spec.evaluation.baselines]
    return [base, *(prompted(base, strategy, strategy) for strategy in asked)]
