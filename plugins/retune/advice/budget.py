"""May this run spend what it will cost: yes, no, or ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from retune.records import Frozen
from retune.spec.budget import Budget, dollars, over

Outcome = Literal["allow", "ask", "refuse"]


class Cost(Frozen):
    """What one recipe's training will cost."""

    title: str
    """The recipe, as people know it."""
    usd: float | None = Field(ge=0, allow_inf_nan=False)
    """None where a price is not known; 0 for a job that is reserved or was paid already."""
    basis: str
    """One line: how the figure came about, or why there is none."""


class Verdict(Frozen):
    """Whether a run may spend what it will cost."""

    outcome: Outcome
    reasons: tuple[str, ...]
    """Plain sentences with the numbers, at least one."""
    usd: float
    """What all recipes with a known price cost together."""
    unknown: tuple[str, ...] = ()
    """Titles of the recipes without a known price."""
    approved_by: str = ""
    """Who allowed it, where it had to be asked."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return self.model_dump(mode="json")


def decide(
    costs: Sequence[Cost],
    budget: Budget | None,
    spent_this_month: float,
    reserved: float,
    *,
    unpriced: int = 0,
) -> Verdict:
    """Decide whether a run may spend what it will cost.

    A limit that is exceeded refuses, whatever else is not known. A price that is not known asks and is
    never taken for nothing; more cost never makes the answer milder.

    Args:
        costs: One for each recipe.
        budget: The spec's; None where it has none: known prices are allowed then, unknown ones ask.
        spent_this_month: US dollars that the pipeline's jobs of this month have cost.
        reserved: US dollars that are set aside for those that have not ended.
        unpriced: How many jobs of this month have a cost that nobody knows.

    Returns:
        The answer, with all that speaks for it.
    """
    limits = budget or Budget()
    total = sum(cost.usd for cost in costs if cost.usd is not None)
    unknown = tuple(cost.title for cost in costs if cost.usd is None)
    month = spent_this_month + reserved
    refusals = _refusals(total, month, limits, spent_this_month, reserved)
    questions = _questions(costs, total, limits, unpriced)
    outcome: Outcome = "refuse" if refusals else "ask" if questions else "allow"
    reasons = (*refusals, *questions) or (_fits(total, month, limits),)
    return Verdict(outcome=outcome, reasons=reasons, usd=total, unknown=unknown)


def _refusals(total: float, month: float, limits: Budget, spent: float, reserved: float) -> list[str]:
    found = []
    if limits.per_run_usd is not None and over(total, limits.per_run_usd):
        found.append(
            f"The run would cost {dollars(total)}, more than the {dollars(limits.per_run_usd)} of"
            " budget.per_run_usd."
        )
    # A run that costs nothing is no reason to stop, whatever the month has cost.
    if limits.monthly_usd is not None and over(total, 0) and over(month + total, limits.monthly_usd):
        found.append(
            f"The run would cost {dollars(total)} on top of this month's {dollars(month)}"
            f" ({dollars(spent)} paid, {dollars(reserved)} reserved), more than the"
            f" {dollars(limits.monthly_usd)} of budget.monthly_usd."
        )
    return found


def _questions(costs: Sequence[Cost], total: float, limits: Budget, unpriced: int) -> list[str]:
    found = [
        f"Nobody knows what {cost.title} would cost: {cost.basis.rstrip('.')}."
        for cost in costs
        if cost.usd is None
    ]
    if limits.ask_above_usd is not None and over(total, limits.ask_above_usd):
        found.append(
            f"The run would cost {dollars(total)}, more than the {dollars(limits.ask_above_usd)} of"
            " budget.ask_above_usd."
        )
    if unpriced and limits.monthly_usd is not None and over(total, 0):
        found.append(
            f"What {unpriced} of this month's jobs cost is not known, so nobody can say what is left of the"
            f" {dollars(limits.monthly_usd)} of budget.monthly_usd."
        )
    return found


def _fits(total: float, month: float, limits: Budget) -> str:
    parts = [f"The run will cost {dollars(total)}"]
    if limits.per_run_usd is not None:
        parts.append(f"of {dollars(limits.per_run_usd)} a run")
    if limits.monthly_usd is not None:
        parts.append(f"with {dollars(month + total)} of {dollars(limits.monthly_usd)} this month")
    return ", ".join(parts) + "."
