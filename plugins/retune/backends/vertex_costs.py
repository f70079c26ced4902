"""What a tuning job costs: tokens of the training rows x epochs x price.

https://cloud.google.com/vertex-ai/generative-ai/pricing: training tokens are those of the training rows
times the epochs; validation costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retune.artifacts import Artifacts
from retune.backends.base import Estimate, Order
from retune.backends.vertex_rows import rows_of
from retune.prices import TokenPrice, dated, load_prices
from retune.settings import Settings
from retune.text.tokens import counter_for

if TYPE_CHECKING:
    from google.genai import types

ASSUMED_EPOCHS = 10
"""Where a recipe leaves them to the service, which does not say how it chooses."""


def estimate(order: Order, artifacts: Artifacts, settings: Settings) -> Estimate:
    """Say what a job will cost; None where nobody said what tokens cost."""
    recipe = order.recipe
    counter = counter_for(recipe.base_model, settings.project)
    rows = rows_of(order, "train", artifacts)
    tokens = sum(counter.conversations(rows))
    if recipe.method == "dpo":
        tokens += sum(counter.count(["\n".join(turn.text for turn in row.rejected) for row in rows]))
    epochs = recipe.hyperparameters.get("epochs")
    count = epochs or ASSUMED_EPOCHS
    basis = f"{tokens:,} tokens ({counter.name}) x {count} epochs"
    if epochs is None:
        basis += " (assumed, as the recipe leaves them to the service)"
    price = load_prices(settings).training("vertex", recipe.base_model, recipe.method)
    if price is None:
        return Estimate(None, f"{basis}; no price of {recipe.method} on {recipe.base_model} is known")
    return Estimate(price.cost(tokens * count), dated(f"{basis} x {_said(price)}", price))


def cost(job: types.TuningJob, settings: Settings) -> float | None:
    """Return what a finished job cost; None where its tokens, its epochs or the price are not known."""
    stats, spec = _stats(job), spec_of(job)
    tokens = stats.total_billable_token_count if stats else None
    hyper = spec.hyper_parameters if spec else None
    epochs = hyper.epoch_count if hyper else None
    if epochs is None and job.tuning_job_metadata:
        epochs = job.tuning_job_metadata.completed_epoch_count
    method = "dpo" if job.preference_optimization_spec else "sft"
    price = load_prices(settings).training("vertex", job.base_model or "", method)
    if price is None or tokens is None or epochs is None:
        return None
    return price.cost(int(tokens) * int(epochs))


def total_steps(job: types.TuningJob) -> int:
    """Return the steps of the whole training; 0 while they are not known."""
    stats = _stats(job)
    return int(stats.tuning_step_count or 0) if stats else 0


def spec_of(job: types.TuningJob) -> types.SupervisedTuningSpec | types.PreferenceOptimizationSpec | None:
    """Return what a job was asked to do."""
    return job.supervised_tuning_spec or job.preference_optimization_spec


def _stats(
    job: types.TuningJob,
) -> types.SupervisedTuningDataStats | types.PreferenceOptimizationDataStats | None:
    stats = job.tuning_data_stats
    if stats is None:
        return None
    return stats.supervised_tuning_data_stats or stats.preference_optimization_data_stats


def _said(price: TokenPrice) -> str:
    return f"${price.usd_per_million:g} per million (as of {price.as_of}, {price.source})"
