"""The verbs of `<pipeline>.tune` that end it: the gate's decision and the release."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException
from sqlalchemy import Connection

from retune.airflow.assets import release_asset
from retune.airflow.links import EvaluationPage
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.operators.evaluate import let_go
from retune.records import Dataset, Decision, EvalReport, Model, Verdict
from retune.state import artifacts_index, ledger, releases

_WORDS = {Verdict.PROMOTE: "passed", Verdict.REJECT: "refused", Verdict.INCONCLUSIVE: "not settled"}


class Decide(RetuneOperator):
    """Asks the gate and keeps the page with its evidence; returns a Decision.

    Args:
        spec: Digest of the frozen spec.
        dataset: A Dataset.
        entries: ChooseCandidate's contenders.
        reports: Their EvalReports.
        kwargs: As RetuneOperator.
    """

    operator_extra_links = (EvaluationPage(),)

    def __init__(self, *, spec: Any, dataset: Any, entries: Any, reports: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.dataset = dataset
        self.entries = entries
        self.reports = reports

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide; a missing or damaged report never promotes."""
        from retune.evaluation import gate
        from retune.evaluation.evaluate import read_outcomes
        from retune.evaluation.report import page

        spec = self.frozen(self.spec, context)
        dataset = Dataset.from_json(self.read(self.dataset, context))
        reports = by_name(self.read(self.reports, context))
        outcomes = {name: read_outcomes(report, self.artifacts) for name, report in reports.items()}
        with self.db.read() as tx:
            live = releases.live(tx, self.pipeline)
        decision = gate.decide(spec, dataset, reports, outcomes, live.model.digest if live else None)
        html = page(spec, dataset, decision, reports, outcomes, candidate(self.read(self.entries, context)))
        stored = self.artifacts.put_bytes(html.encode(), "text/html")
        detail = {
            "verdict": decision.verdict.value,
            "reason": decision.reason,
            "model": decision.candidate.model_digest,
            "page": stored.digest,
        }
        with self.db.write() as tx:
            artifacts_index.add(tx, self.pipeline, "evaluation", stored, now())
            ledger.append(tx, self.pipeline, "decided", self.actor(context), detail, now())
        let_go(self.db, spec, context["run_id"], *reports)
        self.page = self.page_of(stored)
        self.log.info("%s: %s", decision.verdict, decision.reason)
        for check in decision.checks:
            self.log.info("  %s: %s. %s", check.name, _WORDS[check.verdict], check.sentence)
        return decision.model_copy(update={"report": stored}).to_json()


class ReleaseWinner(RetuneOperator):
    """Makes a numbered release of a promoted candidate, and wakes the deploy DAG while a release waits.

    The event is for whichever release was never live, so one whose own event was lost is made up
    for. Where none waits the task skips, and so emits nothing.

    Args:
        dataset: A Dataset.
        entries: ChooseCandidate's contenders.
        decision: A Decision.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, dataset: Any, entries: Any, decision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.entries = entries
        self.decision = decision

    def execute(self, context: Context) -> dict[str, Any]:
        """Release the winner; the same run makes one release, however often it is cleared."""
        decision = Decision.from_json(self.read(self.decision, context))
        winner = candidate(self.read(self.entries, context))
        dataset = Dataset.from_json(self.read(self.dataset, context))
        reason = f"{decision.verdict}: {decision.reason}"
        with self.db.write() as tx:
            if decision.verdict is Verdict.PROMOTE:
                reason = self._release(tx, decision, winner, dataset, context)
            waiting = releases.waiting(tx, self.pipeline)
        if waiting is None:
            raise AirflowSkipException(reason)
        context["outlet_events"][release_asset(self.pipeline)].extra = {"release": waiting.number}
        self.log.info("%s; release %d waits to be rolled out", reason, waiting.number)
        return waiting.to_json()

    def _release(
        self, tx: Connection, decision: Decision, winner: Model, dataset: Dataset, context: Context
    ) -> str:
        """Number the winner, unless the newest release is this very model, and say what was done."""
        newest, run_id = releases.newest(tx, self.pipeline), context["run_id"]
        if newest and newest.model.digest == winner.digest and newest.dag_run_id != run_id:
            # It waits to be rolled out, or someone took it off; another number would not change that.
            return f"release {newest.number} is this very model"
        release = releases.create(
            tx, self.pipeline, decision.spec_digest, winner, dataset.digest, decision, run_id, now()
        )
        if newest is None or release.number > newest.number:
            detail = {"release": release.number, "model": release.model.digest, "reason": decision.reason}
            ledger.append(tx, self.pipeline, "released", self.actor(context), detail, now())
        return f"release {release.number}: {decision.reason}"


def candidate(entries: list[dict[str, Any]]) -> Model:
    """Return the candidate's model among ChooseCandidate's contenders."""
    return next(Model.from_json(e["model"]) for e in entries if e["contender"]["name"] == "candidate")


def by_name(reports: Any) -> dict[str, EvalReport]:
    """Return contender name -> EvalReport."""
    read = [EvalReport.from_json(report) for report in reports]
    return {report.contender.name: report for report in read}
