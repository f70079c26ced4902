"""What a run may spend: yes, no, or ask; never milder for more cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.advice.budget import Cost, Verdict, decide
from retune.spec.budget import Budget

MILDNESS = {"allow": 0, "ask": 1, "refuse": 2}
BUDGET = Budget(per_run_usd=50.0, ask_above_usd=10.0, monthly_usd=200.0)

amounts = st.floats(min_value=0, max_value=1e6)
limits = st.none() | amounts
known_costs = st.builds(Cost, title=st.just("recipe"), usd=amounts, basis=st.just("a guess"))
unknown_costs = st.builds(Cost, title=st.just("recipe"), usd=st.none(), basis=st.just("no price"))
several = st.lists(known_costs | unknown_costs, max_size=4)


@st.composite
def budgets(draw: Any) -> Budget | None:
    if draw(st.booleans()):
        return None
    # Validation orders them; whatever is given is sorted into a sound budget.
    ask, run, month = sorted((draw(amounts), draw(amounts), draw(amounts)))
    chosen = {"ask_above_usd": ask, "per_run_usd": run, "monthly_usd": month}
    return Budget(**{name: value for name, value in chosen.items() if draw(st.booleans())})


def cost(usd: float | None, title: str = "openai gpt-4.1-mini sft #1") -> Cost:
    return Cost(title=title, usd=usd, basis="4,000,000 tokens at 5.00 USD a million")


def decided(*usd: float | None, spent: float = 0.0, reserved: float = 0.0, unpriced: int = 0) -> Verdict:
    return decide([cost(each) for each in usd], BUDGET, spent, reserved, unpriced=unpriced)


def test_what_fits_is_allowed_and_says_how_much_is_left() -> None:
    verdict = decided(4.0, 5.5, spent=100.0, reserved=20.0)
    assert verdict.outcome == "allow"
    assert verdict.reasons == (
        "The run will cost 9.50 USD, of 50.00 USD a run, with 129.50 USD of 200.00 USD this month.",
    )
    assert (verdict.usd, verdict.unknown) == (9.5, ())


@pytest.mark.parametrize(
    ("usd", "outcome"), [(10.0, "allow"), (10.01, "ask"), (50.0, "ask"), (50.01, "refuse")]
)
def test_the_limits_themselves_are_within(usd: float, outcome: str) -> None:
    assert decided(usd).outcome == outcome


def test_a_limit_of_three_tenths_holds_three_times_a_tenth() -> None:
    budget = Budget(per_run_usd=0.3)
    assert decide([cost(0.1)] * 3, budget, 0, 0).outcome == "allow"


def test_over_the_run_or_the_month_is_refused_with_the_numbers() -> None:
    verdict = decided(62.1)
    assert verdict.outcome == "refuse"
    assert verdict.reasons[0] == (
        "The run would cost 62.10 USD, more than the 50.00 USD of budget.per_run_usd."
    )
    verdict = decided(8.0, spent=150.0, reserved=45.0)
    assert (verdict.outcome, verdict.reasons) == (
        "refuse",
        (
            "The run would cost 8.00 USD on top of this month's 195.00 USD (150.00 USD paid,"
            " 45.00 USD reserved), more than the 200.00 USD of budget.monthly_usd.",
        ),
    )


def test_an_unknown_price_asks_and_says_whose() -> None:
    verdict = decide([cost(1.0), cost(None, "vertex gemma sft #2")], BUDGET, 0, 0)
    assert (verdict.outcome, verdict.unknown, verdict.usd) == ("ask", ("vertex gemma sft #2",), 1.0)
    assert verdict.reasons == (
        "Nobody knows what vertex gemma sft #2 would cost: 4,000,000 tokens at 5.00 USD a million.",
    )


def test_an_unknown_price_does_not_hide_that_the_known_ones_are_too_much() -> None:
    assert decided(None, 51.0).outcome == "refuse"


def test_without_a_budget_only_an_unknown_price_asks() -> None:
    assert decide([cost(1e9)], None, 1e9, 1e9).outcome == "allow"
    assert decide([cost(None)], None, 0, 0).outcome == "ask"
    assert decide([], None, 0, 0).outcome == "allow"


def test_what_costs_nothing_is_allowed_in_a_month_that_is_used_up() -> None:
    assert decided(0.0, spent=500.0).outcome == "allow"


def test_a_month_with_a_cost_that_nobody_knows_asks() -> None:
    verdict = decided(1.0, unpriced=2)
    assert verdict.outcome == "ask"
    assert verdict.reasons[0].startswith("What 2 of this month's jobs cost is not known")
    assert decide([cost(1.0)], Budget(per_run_usd=5.0), 0, 0, unpriced=2).outcome == "allow"
    assert decided(0.0, unpriced=2).outcome == "allow"


def test_a_cost_below_zero_or_without_end_is_none() -> None:
    for usd in (-0.01, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="usd"):
            cost(usd)


@given(costs=several, more=known_costs | unknown_costs, budget=budgets(), spent=amounts, reserved=amounts)
def test_one_more_recipe_never_makes_it_milder(
    costs: list[Cost], more: Cost, budget: Budget | None, spent: float, reserved: float
) -> None:
    before = decide(costs, budget, spent, reserved).outcome
    after = decide([*costs, more], budget, spent, reserved).outcome
    assert MILDNESS[after] >= MILDNESS[before]


@given(costs=several, budget=budgets(), spent=amounts, reserved=amounts, more=amounts)
def test_a_month_that_has_cost_more_never_makes_it_milder(
    costs: list[Cost], budget: Budget | None, spent: float, reserved: float, more: float
) -> None:
    before = decide(costs, budget, spent, reserved).outcome
    for after in (
        decide(costs, budget, spent + more, reserved),
        decide(costs, budget, spent, reserved + more),
        decide(costs, budget, spent, reserved, unpriced=1),
    ):
        assert MILDNESS[after.outcome] >= MILDNESS[before]


@given(costs=several, budget=budgets(), spent=amounts, reserved=amounts)
def test_what_is_not_known_is_never_allowed_unasked_and_every_answer_has_a_reason(
    costs: list[Cost], budget: Budget | None, spent: float, reserved: float
) -> None:
    verdict = decide(costs, budget, spent, reserved)
    assert verdict.reasons
    if any(cost.usd is None for cost in costs):
        assert verdict.outcome != "allow"
    assert Verdict.model_validate(verdict.to_json()) == verdict


@given(costs=st.lists(known_costs, max_size=4), limit=amounts, spent=amounts)
def test_nothing_above_a_limit_is_ever_let_through(costs: list[Cost], limit: float, spent: float) -> None:
    total = sum(cost.usd or 0 for cost in costs)
    if total > limit + 0.001:
        assert decide(costs, Budget(per_run_usd=limit), spent, 0).outcome == "refuse"
        assert decide(costs, Budget(ask_above_usd=limit), spent, 0).outcome == "ask"
    if total > 0.001 and spent + total > limit + 0.001:
        assert decide(costs, Budget(monthly_usd=limit), spent, 0).outcome == "refuse"
