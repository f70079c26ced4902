"""The verbs of `<pipeline>.tune` that end it: the gate's decision and the release."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException
from sqlalchemy import Connection

from retune.advice.diagnosis import Peer
from retune.airflow.assets import release_asset
from retune.airflow.links import EvaluationPage, ModelCard
from retune.airflow.operators.base import OnDataset, RetuneOperator, now
from retune.airflow.operators.evaluate import by_key, let_go
from retune.airflow.operators.learning_curve import curve_from_json, winner_of
from retune.errors import StateError
from retune.evaluation.evidence import Beside, Evidence, of_decision
from retune.evaluation.judging.votes import Votes, with_votes
from retune.records import Advice, Dataset, Decision, EvalReport, Model, Outcome, Verdict
from retune.spec import PipelineSpec
from retune.state import artifacts_index, held_out, ledger, releases


class Decide(OnDataset):
    """Asks the gate and keeps the page, the figures and the model card; returns a Decision.

    Args:
        entries: ChooseCandidate's entries.
        reports: Their EvalReports.
        advice: What Advise returned.
        votes: What a judge and people said: Votes, or None.
        learning_curve: What LearnCurve returned; None where no curve is asked for.
        kwargs: As OnDataset.
    """

    operator_extra_links = (EvaluationPage(), ModelCard())
    card: str = ""
    """Address of the model card."""

    def __init__(
        self,
        *,
        entries: Any,
        reports: Any,
        advice: Any,
        votes: Any = (),
        learning_curve: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.entries = entries
        self.reports = reports
        self.advice = advice
        self.votes = votes
        self.learning_curve = learning_curve

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide; a missing or damaged report never promotes."""
        from retune.evaluation.gate import decide
        from retune.evaluation.outcomes import read_outcomes

        spec, dataset = self.inputs(context)
        entries = self.read(self.entries, context)
        winner, _ = winner_of(entries)
        reports = by_key(self.read(self.reports, context))
        outcomes = {name: read_outcomes(report, self.artifacts) for name, report in reports.items()}
        votes = [Votes.from_json(found) for one in self.votes if (found := self.read(one, context))]
        for one in votes:
            mine = reports["candidate"]
            metrics = {**mine.metrics, **one.metrics}
            reports["candidate"] = mine.model_copy(update={"metrics": metrics})
            outcomes["candidate"] = with_votes(outcomes["candidate"], one, self.artifacts)
        with self.db.read() as tx:
            live, before = releases.live(tx, self.pipeline), releases.previous(tx, self.pipeline)
            uses = held_out.uses(tx, self.pipeline, dataset.held_out.artifact.digest)
        decision = decide(
            spec,
            dataset,
            reports,
            outcomes,
            live.model.digest if live else None,
            previous_digest=before.model.digest if before else None,
            held_out_uses=uses,
            leaked=self._leaked(dataset),
        )
        beside = self._beside(self._findings(spec, entries, reports, outcomes, context), votes, context)
        evidence = of_decision(spec, dataset, decision, reports, outcomes, winner, beside)
        decision = self._publish(evidence, decision, context)
        let_go(self.db, spec, context["run_id"], *{report.contender.name for report in reports.values()})
        self.log.info("%s: %s", decision.verdict, decision.reason)
        for check in decision.checks:
            self.log.info("  %s: %s. %s", check.name, check.verdict.of_check, check.sentence)
        for sentence in filter(None, (decision.advice, *beside.findings)):
            self.log.info("  %s", sentence)
        return decision.to_json()

    def _leaked(self, dataset: Dataset) -> int:
        from retune.evaluation.gate import leaked_rows

        lines = [
            self.artifacts.get_bytes(side.artifact.digest).split(b"\n")
            for side in (dataset.train, dataset.validation, dataset.held_out)
        ]
        return leaked_rows([*lines[0], *lines[1]], lines[2])

    def _findings(
        self,
        spec: PipelineSpec,
        entries: list[dict[str, Any]],
        reports: dict[str, EvalReport],
        outcomes: dict[str, list[Outcome]],
        context: Context,
    ) -> tuple[str, ...]:
        """Return what was advised before the training, and what figures say after it, in sentences."""
        from retune.advice.diagnosis import diagnose_model
        from retune.evaluation.outcomes import read_outcomes

        given = self.read(self.advice, context)
        said = [f"Before the training: {Advice.from_json(given).reason}"] if given else []
        peers = [
            (Model.from_json(peer["model"]), EvalReport.from_json(peer["report"]))
            for peer in entries[0]["peers"]
        ]
        (model, validation), metric = peers[0], spec.gate.metric
        train = reports["train:candidate"]
        if metric not in train.metrics or metric not in validation.metrics:
            return tuple(said)
        first, *others = [
            peer_of(one, report, read_outcomes(report, self.artifacts), metric) for one, report in peers
        ]
        found = diagnose_model(
            spec, train.metrics[metric], validation.metrics[metric], model.curves, first, others
        )
        return (*said, *(f"{finding.sentence} {finding.action}".strip() for finding in found))

    def _beside(self, findings: tuple[str, ...], votes: list[Votes], context: Context) -> Beside:
        given = self.read(self.learning_curve, context)
        curve = curve_from_json(given) if given else None
        if curve and not curve.points:
            # Without points there is no plot that the sentence could stand under.
            findings = (*findings, curve.sentence)
        return Beside(findings, curve, tuple(one.opinion for one in votes))

    def _publish(self, evidence: Evidence, decision: Decision, context: Context) -> Decision:
        """Store the page, the figures and the card, and note the decision in the ledger."""
        from retune.artifacts import canonical_json
        from retune.evaluation.model_card import model_card
        from retune.evaluation.report import render
        from retune.evaluation.report_json import figures

        page = self.artifacts.put_bytes(render(evidence).encode(), "text/html")
        data = self.artifacts.put_bytes(canonical_json(figures(evidence)), "application/json")
        card = self.artifacts.put_bytes(model_card(evidence).encode(), "text/markdown")
        detail = {
            "verdict": decision.verdict.value,
            "reason": decision.reason,
            "model": decision.candidate.model_digest,
            "page": page.digest,
        }
        with self.db.write() as tx:
            for kind, stored in (("evaluation", page), ("report", data), ("model_card", card)):
                artifacts_index.add(tx, self.pipeline, kind, stored, now())
            ledger.append(tx, self.pipeline, "decided", self.actor(context), detail, now())
        self.page, self.card = self.page_of(page), self.page_of(card)
        return decision.model_copy(update={"report": page, "figures": data, "card": card})


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
        winner, _ = winner_of(self.read(self.entries, context))
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
        """Number the winner, unless there is no need or its evidence is out of date; say what was done."""
        if winner.digest != decision.candidate.model_digest:
            what = (
                f"the decision is on {decision.candidate.model_digest}, and the candidate is {winner.digest}"
            )
            raise StateError(
                what, "a task before was cleared by itself: clear `evaluate` with what follows it"
            )
        known, run_id = releases.list_all(tx, self.pipeline), context["run_id"]
        newest = known[-1] if known else None
        if newest and newest.model.digest == winner.digest and newest.dag_run_id != run_id:
            # It waits to be rolled out, or someone took it off; another number would not change that.
            return f"release {newest.number} is this very model"
        if not any(one.dag_run_id == run_id for one in known) and (
            overtaken := self._overtaken(tx, decision)
        ):
            return overtaken
        release = releases.create(
            tx, self.pipeline, decision.spec_digest, winner, dataset.digest, decision, run_id, now()
        )
        if newest is None or release.number > newest.number:
            detail = {"release": release.number, "model": release.model.digest, "reason": decision.reason}
            ledger.append(tx, self.pipeline, "released", self.actor(context), detail, now())
        return f"release {release.number}: {decision.reason}"

    def _overtaken(self, tx: Connection, decision: Decision) -> str:
        """Say whether another model serves than the candidate was held against; empty where it is that one.

        A person may take days to answer, and a rollout or a rollback does not wait for them.
        """
        live, held = releases.live(tx, self.pipeline), decision.reports.get("champion")
        serves = live.model.digest if live else None
        if serves == (held.contender.model_digest if held else None):
            return ""
        who = f"release {live.number}, which is live by now" if live else "none that is live"
        return f"not released: the candidate was not held against {who}. Start a new run to do so"


def peer_of(model: Model, report: EvalReport, outcomes: list[Outcome], metric: str) -> Peer:
    """Return a model of the run as its diagnosis looks at it."""
    return Peer(
        title=f"recipe {model.recipe_index + 1}",
        base_model=model.base_model,
        scores={outcome.id: outcome.scores.get(metric, 0.0) for outcome in outcomes},
        groups={outcome.id: outcome.group for outcome in outcomes},
        cost_per_1000_usd=report.cost_per_1000_usd,
    )
