"""What a job at OpenAI costs, before and after; and the rows that it is asked to grade."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.backends.base import Order
from retune.backends.openai_files import GRADED
from retune.backends.openai_money import cost_of, estimate, usual_epochs
from retune.backends.openai_refusals import Service
from retune.errors import DataError
from retune.prices import OWN_PRICES, load_prices
from retune.settings import OpenAIAccount
from retune.text.conversations import Message, conversation, make
from tests.tuning import Bench, make_bench

MODEL = "gpt-4.1-mini-2025-04-14"  # 5 dollars a million training tokens in the packaged list
OPENAI = Service(OpenAIAccount("https://api.openai.com/v1", "sk-test"), "openai_default")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("project"))


def order_of(bench: Bench, model: str = MODEL, method: str = "sft", tokens: int = 0, **given: Any) -> Order:
    dataset = bench.dataset(train=20)
    if tokens:
        dataset = dataset.model_copy(update={"tokens": {model: tokens}})
    changed = {"backend": "openai", "base_model": model, "method": method, "hyperparameters": given}
    return Order("key", 1, bench.recipe().model_copy(update=changed), dataset)


def estimated(bench: Bench, order: Order) -> Any:
    return estimate(order, OPENAI, load_prices(bench.settings), bench.artifacts, bench.settings.project)


def test_an_estimate_is_tokens_by_epochs_by_price(bench: Bench) -> None:
    found = estimated(bench, order_of(bench, tokens=1_000_000, epochs=2))
    assert found.usd == pytest.approx(10.0)
    assert "1,000,000 tokens of the dataset x 2 epochs x $5 a million (read 20" in found.basis


def test_epochs_that_nobody_gave_are_said_to_be_assumed(bench: Bench) -> None:
    found = estimated(bench, order_of(bench, tokens=1_000_000, epochs=None))
    assert found.usd == pytest.approx(25.0)  # 20 rows: 5 epochs
    assert "x 5 epochs (the service's choice" in found.basis


def test_both_answers_of_a_pair_are_counted(bench: Bench) -> None:
    assert estimated(bench, order_of(bench, method="dpo", tokens=1_000_000, epochs=1)).usd == pytest.approx(
        10.0
    )


def test_tokens_that_the_dataset_does_not_say_are_counted(bench: Bench) -> None:
    found = estimated(bench, order_of(bench, epochs=1))
    assert found.usd is not None and 0 < found.usd < 0.01
    assert " tokens by " in found.basis


def test_what_goes_by_the_hour_or_has_no_price_is_not_known(bench: Bench) -> None:
    hourly = estimated(bench, order_of(bench, "o4-mini-2025-04-16", "reinforcement"))
    assert hourly.usd is None and "$100 an hour" in hourly.basis
    unknown = estimated(bench, order_of(bench, "a-model", tokens=5, epochs=1))
    assert unknown.usd is None and "price of sft on a-model at openai is not known" in unknown.basis


def test_the_cost_is_of_the_billed_tokens_or_of_the_hours(bench: Bench) -> None:
    prices = load_prices(bench.settings)
    done: Any = SimpleNamespace(model=MODEL, trained_tokens=200_000, created_at=0, finished_at=1800)
    assert cost_of(done, "sft", OPENAI, prices) == pytest.approx(1.0)
    done.trained_tokens = None
    assert cost_of(done, "sft", OPENAI, prices) is None
    done.model = "o4-mini-2025-04-16"
    assert cost_of(done, "reinforcement", OPENAI, prices) == pytest.approx(50.0)
    done.finished_at = None
    assert cost_of(done, "reinforcement", OPENAI, prices) is None
    assert cost_of(done, "dpo", OPENAI, prices) is None


def test_another_services_price_is_not_openais(bench: Bench, tmp_path: Path) -> None:
    other = Service(OpenAIAccount("https://ours.openai.azure.com/openai/v1", "sk-test"), "azure")
    order = order_of(bench, tokens=1_000_000, epochs=2)
    project = bench.settings.project
    found = estimate(order, other, load_prices(bench.settings), bench.artifacts, project)
    assert found.usd is None and "at ours.openai.azure.com is not known" in found.basis
    settings = replace(bench.settings, project=tmp_path)
    (tmp_path / OWN_PRICES).parent.mkdir()
    (tmp_path / OWN_PRICES).write_text(
        "version: 1\nbackends: {ours.openai.azure.com: {models: {gpt-4.1-mini:"
        " {training: {sft: 4}, as_of: 2026-11-20, source: our contract}}}}\n"
    )
    found = estimate(order, other, load_prices(settings), bench.artifacts, project)
    assert found.usd == pytest.approx(8.0)


@given(st.integers(1, 10**6))
def test_the_usual_epochs_show_enough_examples_and_not_too_many(examples: int) -> None:
    epochs = usual_epochs(examples)
    assert 1 <= epochs <= 25
    assert epochs == 3 or examples * 3 < 100 or examples * 3 > 25_000
    assert examples * epochs <= 25_000 or epochs == 1


@pytest.mark.parametrize(("examples", "epochs"), [(1, 25), (10, 10), (34, 3), (8_334, 2), (30_000, 1)])
def test_the_usual_epochs_by_example(examples: int, epochs: int) -> None:
    assert usual_epochs(examples) == epochs


def test_a_row_to_grade_ends_with_the_user_and_keeps_the_answer_beside() -> None:
    line = json.loads(GRADED.line(conversation("Be brief.", "Where is my parcel?", "shipping")))
    assert [turn["role"] for turn in line["messages"]] == ["system", "user"]
    assert line["reference_answer"] == "shipping"
    turns = [Message(role=role, content=role) for role in ("user", "assistant", "user", "assistant")]
    assert json.loads(GRADED.line(make(turns)))["messages"][-1]["role"] == "user"
    with pytest.raises(DataError, match="not the user's"):
        GRADED.line(make([turns[0], turns[1], turns[3]]))
