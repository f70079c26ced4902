"""The verb of `<pipeline>.tune` after the gate: does a person have a say?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context

from retune.airflow.links import EvaluationPage
from retune.airflow.markdown import cell
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.questions import require_shown
from retune.records import Decision, Verdict
from retune.spec import Approval, seconds
from retune.state import ledger

NOBODY = "nobody, within the time"


class ApproveRelease(RetuneOperator, ApprovalOperator):
    """Lets the gate's decision stand, or asks a person as `gate.approval` says; returns what counts.

    A REJECT is never asked about, nor is evidence that cannot be trusted: a person may settle what the
    statistics left open, not what was not measured. Who does not answer within the time-out gives the
    answer `on_timeout`, so a run never waits for ever.

    Args:
        spec: Digest of the frozen spec.
        decision: A Decision.
        kwargs: As RetuneOperator.
    """

    operator_extra_links = (EvaluationPage(),)

    def __init__(self, *, spec: Any, decision: Any, **kwargs: Any) -> None:
        # What is asked is known once the gate has spoken.
        super().__init__(subject="", fail_on_reject=True, **kwargs)
        self.spec = spec
        self.decision = decision

    def execute(self, context: Context) -> dict[str, Any]:
        """Pass the decision on, or ask; raises AirflowFailException where another one was asked about."""
        approval = self.frozen(self.spec, context).gate.approval
        decision = self._shown(context)
        if asks(decision, approval):
            self._ask(decision, approval, context)
        return decision.to_json()

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take the answer, and keep it in the ledger."""
        decision = self._shown(context)
        user = event.get("responded_by_user")
        who = str(user["name"]) if user else NOBODY
        try:
            super().execute_complete(context, event)
            approved = True
        except HITLRejectException:
            approved = False
        decided = answered(decision, approved, who)
        detail = {"verdict": decided.verdict.value, "by": who, "model": decided.candidate.model_digest}
        with self.db.write() as tx:
            ledger.append(tx, self.pipeline, "answered", self.actor(context), detail, now())
        self.log.info("%s: %s", decided.verdict, decided.reason)
        return decided.to_json()

    def _shown(self, context: Context) -> Decision:
        decision = Decision.from_json(self.read(self.decision, context))
        if decision.report:
            self.page = self.page_of(decision.report)
        return decision

    def _ask(self, decision: Decision, approval: Approval, context: Context) -> None:
        """Leave the question for a person; does not return."""
        self.response_timeout = timedelta(seconds=seconds(approval.timeout))
        self.defaults = [self.APPROVE if approval.on_timeout == "approve" else self.REJECT]
        self.subject = f"{self.pipeline}: the gate says {decision.verdict}. Release the candidate?"
        self.body = question(decision, approval, self.page)
        self.log.info("%s %s", self.subject, decision.reason)
        require_shown(self, context)
        ApprovalOperator.execute(self, context)


def asks(decision: Decision, approval: Approval) -> bool:
    """Say whether a person is asked about a decision."""
    if decision.verdict is Verdict.PROMOTE:
        return approval.when == "always"
    trusted = all(
        check.verdict is Verdict.PROMOTE for check in decision.checks if check.kind == "precondition"
    )
    return decision.verdict is Verdict.INCONCLUSIVE and approval.when != "never" and trusted


def answered(decision: Decision, approved: bool, who: str) -> Decision:
    """Return a decision as a person left it.

    Args:
        decision: The gate's.
        approved: Whether the candidate is to be released.
        who: Who says so.
    """
    if approved:
        verdict, word = Verdict.PROMOTE, "approved"
    else:
        verdict = Verdict.REJECT if decision.verdict is Verdict.PROMOTE else decision.verdict
        word = "turned down"
    reason = f"The gate said {decision.verdict}; {word} by {who}. {decision.reason}"
    return decision.model_copy(update={"verdict": verdict, "reason": reason, "forced_by": who})


def question(decision: Decision, approval: Approval, page: str) -> str:
    """Return what a person must know to answer, as Markdown."""
    rows = "\n".join(
        f"| {cell(check.name)} | {check.verdict.of_check} | {cell(check.sentence)} |"
        for check in decision.checks
    )
    link = f"\n\n[The evidence]({page})" if page else ""
    word = "released" if approval.on_timeout == "approve" else "not released"
    return (
        f"{decision.reason}{link}\n\n| check | verdict | in words |\n|---|---|---|\n{rows}\n\n"
        f"Without an answer within {approval.timeout} it is {word}."
    )
