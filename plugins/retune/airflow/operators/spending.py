"""The verb of `<pipeline>.tune` before money is spent: may this run cost that much?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from retune.advice.budget import Cost, Verdict, decide
from retune.airflow.markdown import cell
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.questions import require_shown
from retune.spec import seconds
from retune.spec.budget import Budget, dollars
from retune.state import spending
from retune.state.spending import Spent

_ANSWERED = {"reject": "rejected", "approve": "approved"}


class ApproveCost(RetuneOperator, ApprovalOperator):
    """Lets a run spend what its recipes cost, refuses it, or asks a person; returns a Verdict.

    It asks as Airflow's ApprovalOperator does: on the page "Required Actions", without a worker or a
    triggerer. Who does not answer in the budget's `approval_timeout` gives the answer `on_timeout`, so a
    run never waits for ever. What is rejected fails the task for good, and the training does not start.

    Args:
        spec: Digest of the frozen spec.
        costs: A list of Costs, one for each recipe.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, costs: Any, **kwargs: Any) -> None:
        # What is asked is known once the costs are.
        super().__init__(subject="", fail_on_reject=True, **kwargs)
        self.spec = spec
        self.costs = costs

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, and ask where a person must; raises AirflowFailException where the budget refuses."""
        verdict, costs, budget, month = self._decide(context)
        if verdict.outcome == "ask":
            self._ask(verdict, costs, budget, month, context)
        for reason in verdict.reasons:
            self.log.info(reason)
        return verdict.to_json()

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take the answer; raises AirflowFailException where it is no, or the budget has gone since."""
        user = event.get("responded_by_user")
        answered = str(user["name"]) if user else "the time-out, as nobody answered"
        try:
            super().execute_complete(context, event)
        except HITLRejectException:
            raise AirflowFailException(
                f"the cost was rejected by {answered}: the training does not start"
            ) from None
        verdict, *_ = self._decide(context)
        self.log.info("the cost was approved by %s", answered)
        return verdict.model_copy(update={"approved_by": answered}).to_json()

    def _decide(self, context: Context) -> tuple[Verdict, list[Cost], Budget, Spent]:
        budget = self.frozen(self.spec, context).budget
        costs = [Cost.model_validate(cost) for cost in self.read(self.costs, context)]
        with self.db.read() as tx:
            month = spending.spent(tx, self.pipeline, now())
        verdict = decide(costs, budget, month.settled, month.reserved, unpriced=month.unpriced)
        if verdict.outcome == "refuse":
            raise AirflowFailException(" ".join(verdict.reasons))
        return verdict, costs, budget, month

    def _ask(
        self, verdict: Verdict, costs: list[Cost], budget: Budget, month: Spent, context: Context
    ) -> None:
        """Leave the question for a person; does not return."""
        self.response_timeout = timedelta(seconds=seconds(budget.approval_timeout))
        self.defaults = [self.APPROVE if budget.on_timeout == "approve" else self.REJECT]
        self.subject = f"{self.pipeline}: may this run spend {_amount(verdict)}?"
        self.body = question(verdict, costs, budget, month)
        self.log.info("%s %s", self.subject, " ".join(verdict.reasons))
        require_shown(self, context)
        ApprovalOperator.execute(self, context)


def question(verdict: Verdict, costs: list[Cost], budget: Budget, month: Spent) -> str:
    """Return what a person must know to answer, as Markdown."""
    rows = "\n".join(f"| {cell(cost.title)} | {_price(cost.usd)} | {cell(cost.basis)} |" for cost in costs)
    limits = [
        f"{dollars(limit)} {what}"
        for limit, what in ((budget.per_run_usd, "a run"), (budget.monthly_usd, "a month"))
        if limit is not None
    ]
    unpriced = f", and {month.unpriced} jobs of unknown cost" if month.unpriced else ""
    return (
        f"{' '.join(verdict.reasons)}\n\n"
        f"| recipe | estimate | basis |\n|---|---|---|\n{rows}\n\n"
        f"This month (UTC): {dollars(month.settled)} paid, {dollars(month.reserved)} reserved{unpriced}. "
        f"Budget: {' and '.join(limits) or 'no limit'}.\n\n"
        f"Without an answer within {budget.approval_timeout} the run is {_ANSWERED[budget.on_timeout]}."
    )


def _amount(verdict: Verdict) -> str:
    if not verdict.unknown:
        return dollars(verdict.usd)
    return f"{dollars(verdict.usd)} and an unknown amount" if verdict.usd else "an unknown amount"


def _price(usd: float | None) -> str:
    return "not known" if usd is None else dollars(usd)
