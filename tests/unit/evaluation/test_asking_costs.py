"""Answers cost what the price list says, and nothing is made up where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.evaluation.asking_costs import answer_cost, answer_price, cost_per_1000
from retune.evaluation.contenders import respondent_for
from retune.evaluation.openai_respondent import OpenAIRespondent
from retune.evaluation.respondents import Answer
from retune.prices import load_prices
from retune.records import Contender
from retune.settings import EndpointAddress, EnvironmentConnections, OpenAIAccount, Settings
from tests.unit.evaluation.builders import SPEC, outcomes


@pytest.mark.parametrize(
    ("priced_as", "model", "base_model", "expected"),
    [
        ("openai", "gpt-4.1-mini-2025-04-14", "", 0.40 + 1.60),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::1", "gpt-4.1-mini", 0.80 + 3.20),
        # A tuned model whose own price nobody said is not the base model's.
        ("openai", "ft:gpt-9:acme::1", "gpt-4.1-mini", None),
        ("vertex", "projects/7/locations/l/endpoints/9", "gemini-2.5-flash", 0.30 + 2.50),
        ("vertex", "projects/7/locations/l/endpoints/9", "", None),
        ("acme.openai.azure.com", "gpt-4.1-mini-2025-04-14", "", None),
        ("endpoint", "sha256:1", "Qwen/Qwen3-0.6B", None),
    ],
)
def test_a_model_has_its_own_price_or_none(
    priced_as: str, model: str, base_model: str, expected: float | None, tmp_path: Path
) -> None:
    prices = load_prices(Settings.load({"project": str(tmp_path)}.get))
    price = answer_price(prices, priced_as, model, base_model)
    cost = answer_cost(Answer("a", "", 0.1, 10**6, 10**6), price)
    assert cost == (None if expected is None else pytest.approx(expected))
    assert answer_cost(Answer("a", "", 0.1), price) is None


def test_other_services_are_not_priced_as_openai() -> None:
    def priced_as(url: str) -> str:
        account = OpenAIAccount(url, "key")
        return OpenAIRespondent(account, "c", "gpt", max_tokens=1, timeout_s=1.0).priced_as

    assert priced_as("https://api.openai.com/v1") == "openai"
    assert priced_as("https://eu.api.openai.com/v1") == "openai"
    assert priced_as("https://acme.openai.azure.com/openai/v1") == "acme.openai.azure.com"
    assert priced_as("https://notapi.openai.com.example.org/v1") == "notapi.openai.com.example.org"


def test_endpoints_of_ones_own_are_priced_by_the_project_only() -> None:
    class Here(EnvironmentConnections):
        def endpoint(self, name: str) -> EndpointAddress:
            return EndpointAddress("http://here")

    contender = Contender(spec_digest=SPEC.digest, name="base", model_name="base", model_digest="d")
    assert respondent_for(contender, SPEC, Here()).priced_as == "endpoint"


def test_a_thousand_answers_cost_what_the_known_ones_do() -> None:
    some = outcomes([True] * 4)
    priced = [one.model_copy(update={"cost_usd": 0.001 * number}) for number, one in enumerate(some)]
    assert cost_per_1000([*priced, *some]) == pytest.approx(1.5)
    assert cost_per_1000(some) is None
