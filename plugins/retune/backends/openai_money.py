"""What a job at OpenAI will cost, and what it has cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retune.artifacts import Artifacts
from retune.backends.base import Estimate, Order
from retune.backends.openai_files import rows_of
from retune.backends.openai_refusals import Service
from retune.prices import Prices, dated
from retune.text.tokens import counter_for

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

_USUAL, _LEAST_EXAMPLES, _MOST_EXAMPLES, _MOST_EPOCHS = 3, 100, 25_000, 25


def usual_epochs(examples: int) -> int:
    """Return the epochs that OpenAI takes where none are given.

    As its cookbook reckons them ("Data preparation and analysis for chat model fine-tuning",
    cookbook.openai.com/examples/chat_finetuning_data_prep): 3, but so many that 100 examples are seen
    (at most 25) and so few that no more than 25,000 are.

    Args:
        examples: Rows of the training file.
    """
    if examples * _USUAL < _LEAST_EXAMPLES:
        return min(_MOST_EPOCHS, _LEAST_EXAMPLES // max(examples, 1))
    if examples * _USUAL > _MOST_EXAMPLES:
        return max(1, _MOST_EXAMPLES // examples)
    return _USUAL


def estimate(order: Order, service: Service, prices: Prices, artifacts: Artifacts, project: Path) -> Estimate:
    """Return what an order will cost: tokens x epochs x price.

    Args:
        order: The job.
        service: Who is paid.
        prices: What is known of prices.
        artifacts: Where the rows lie; read only where the dataset does not say its tokens.
        project: Root against which tokenizers are looked for.
    """
    recipe = order.recipe
    hourly = prices.training_hour(service.priced_as, recipe.base_model, recipe.method)
    if hourly is not None:
        what = f"${hourly.usd_per_hour:g} an hour (read {hourly.as_of}, {hourly.source}); hours are not known"
        return Estimate(None, dated(what, hourly))
    tokens, counted = _tokens(order, artifacts, project)
    given = recipe.hyperparameters.get("epochs")
    epochs = given or usual_epochs(order.dataset.train.rows)
    basis = f"{tokens:,} tokens {counted} x {epochs} epochs"
    if not given:
        basis += " (the service's choice, reckoned by OpenAI's rule)"
    price = prices.training(service.priced_as, recipe.base_model, recipe.method)
    if price is None:
        what = f"the price of {recipe.method} on {recipe.base_model} at {service.priced_as} is not known"
        return Estimate(None, f"{basis}; {what}: put it into include/prices.yaml")
    basis += f" x ${price.usd_per_million:g} a million (read {price.as_of}, {price.source})"
    return Estimate(price.cost(tokens * epochs), dated(basis, price))


def _tokens(order: Order, artifacts: Artifacts, project: Path) -> tuple[int, str]:
    """Return the training side's tokens, and how they were counted."""
    pairs = order.recipe.method == "dpo"
    # A pair is read with either answer; how the service counts it is not published, so the most is taken.
    times, said = (2, ", both answers of each pair") if pairs else (1, "")
    known = order.dataset.tokens.get(order.recipe.base_model)
    if known is not None:
        return known * times, f"of the dataset{said}"
    counter = counter_for(order.recipe.base_model, project)
    counted = sum(counter.conversations(rows_of(order, "train", artifacts)))
    return counted * times, f"by {counter.name}{said}"


def cost_of(job: FineTuningJob, method: str, service: Service, prices: Prices) -> float | None:
    """Return what a finished job has cost; None where its price is not known.

    What goes by the hour is reckoned from the job's creation to its end, its time in the queue with it:
    the most that it can have cost.
    """
    price = prices.training(service.priced_as, job.model, method)
    if price is not None:
        return None if job.trained_tokens is None else price.cost(job.trained_tokens)
    hourly = prices.training_hour(service.priced_as, job.model, method)
    if hourly is None or job.finished_at is None:
        return None
    return hourly.cost(job.finished_at - job.created_at)
