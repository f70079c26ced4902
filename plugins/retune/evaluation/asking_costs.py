"""What answers cost: tokens by prices."""

from __future__ import annotations

from collections.abc import Sequence

from retune.evaluation.respondents import Answer
from retune.prices import AnswerPrice, Prices
from retune.records import Outcome


def answer_price(prices: Prices, priced_as: str, model_name: str, base_model: str = "") -> AnswerPrice | None:
    """Return what asking a model costs; None where nobody said.

    A service's own fine-tuned models are priced by their names, others as their base model. Endpoints of
    one's own stand in the price list as the backend `endpoint`.

    Args:
        prices: What is known of prices.
        priced_as: As the respondent says.
        model_name: What the server calls the model.
        base_model: What a tuned model was trained from.
    """
    found = prices.inference(priced_as, model_name)
    if found is None and base_model and not model_name.startswith("ft:"):
        found = prices.inference(priced_as, base_model)
    return found


def answer_cost(answer: Answer, price: AnswerPrice | None) -> float | None:
    """Return the US dollars of an answer; None where the price, or the number of tokens, is not known."""
    if price is None or not answer.prompt_tokens:
        return None
    return price.cost(answer.prompt_tokens, answer.completion_tokens)


def cost_per_1000(outcomes: Sequence[Outcome]) -> float | None:
    """Return the US dollars of a thousand answers; None where the cost of no answer is known.

    Calls that failed are left out: whether they are billed is not known.
    """
    costs = [outcome.cost_usd for outcome in outcomes if outcome.cost_usd is not None]
    return 1000 * sum(costs) / len(costs) if costs else None
