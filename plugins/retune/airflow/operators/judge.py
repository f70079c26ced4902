"""The verbs of `<pipeline>.tune`, from trained models to a release."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from retune.airflow.assets import release_asset
from retune.airflow.links import EvaluationPage
from retune.airflow.operators.base import RetuneOperator, now
from retune.records import Contender, Dataset, Decision, EvalReport, Model, Split, Verdict
from retune.spec import PipelineSpec
from retune.state import artifacts_index, ledger, placements, releases

_LEASE = timedelta(hours=2)
_LOAD_TIMEOUT_S = 300.0


class _Judging(RetuneOperator):
    """Base of the verbs that ask contenders at the evaluation endpoint."""

    def ask(
        self,
        contender: Contender,
        model: Model | None,
        split: Split,
        set_name: Any,
        spec: PipelineSpec,
        dataset: Dataset,
        run_id: str,
    ) -> EvalReport:
        """Load the contender's model where it has one, and let it answer a set."""
        from retune.evaluation.evaluate import evaluate
        from retune.serving import rollout

        endpoint = spec.evaluation.endpoint
        if model is not None:
            until, purpose = now() + _LEASE, lease(run_id, contender.name)
            rollout.place(model, endpoint, purpose, until, db=self.db, now=now())
            rollout.wait_ready(model.digest, endpoint, db=self.db, timeout_s=_LOAD_TIMEOUT_S)
        return evaluate(
            contender,
            split,
            set_name,
            spec=spec,
            labels=dataset.labels,
            endpoint=self.endpoint(endpoint),
            artifacts=self.artifacts,
            report=self.log.info,
        )

    def let_go(self, spec: PipelineSpec, run_id: str, *names: str) -> None:
        """Give the contenders' places at the evaluation endpoint back."""
        with self.db.write() as tx:
            for name in names:
                placements.release(tx, spec.evaluation.endpoint, lease(run_id, name))


def lease(run_id: str, name: str) -> str:
    """Return the purpose under which a contender is loaded for evaluation."""
    return f"evaluation:{run_id}:{name}"


class ChooseCandidate(_Judging):
    """Lets the trained models compete on the validation set.

    Returns the contenders for the held-out set: base, candidate and, where one serves, champion;
    each as `{"contender": Contender, "model": Model or None}`.

    Args:
        spec: Digest of the frozen spec.
        dataset: A Dataset.
        models: The trained Models; recipes that failed are not among them.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, dataset: Any, models: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.dataset = dataset
        self.models = models

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Choose; raises EndpointError where the evaluation endpoint does not answer."""
        spec = self.frozen(self.spec, context)
        models = [Model.from_json(model) for model in self.read(self.models, context)]
        chosen = models[0] if len(models) == 1 else models[self._best(models, spec, context)]
        self.log.info("the candidate is %s, of recipe %d", chosen.digest, chosen.recipe_index + 1)
        with self.db.read() as tx:
            live = releases.live(tx, spec.deploy.alias)
        entries: list[tuple[str, str, Model | None]] = [
            ("base", chosen.base_model, None),
            ("candidate", chosen.digest, chosen),
        ]
        if live:
            entries.append(("champion", live.model.digest, live.model))
        return [
            {
                "contender": Contender(
                    spec_digest=spec.digest,
                    name=name,
                    model_name=model_name,
                    model_digest=model.digest if model else chosen.base_digest,
                ).to_json(),
                "model": model.to_json() if model else None,
            }
            for name, model_name, model in entries
        ]

    def _best(self, models: list[Model], spec: PipelineSpec, context: Context) -> int:
        from retune.evaluation.selection import choose

        dataset = Dataset.from_json(self.read(self.dataset, context))
        reports = []
        for model in models:
            name = f"recipe-{model.recipe_index + 1}"
            contender = Contender(
                spec_digest=spec.digest, name=name, model_name=model.digest, model_digest=model.digest
            )
            run_id = context["run_id"]
            report = self.ask(contender, model, dataset.validation, "validation", spec, dataset, run_id)
            self.let_go(spec, run_id, name)
            reports.append(report)
        return choose(reports, spec)


class Evaluate(_Judging):
    """Lets one contender answer the held-out set; returns an EvalReport.

    Args:
        spec: Digest of the frozen spec.
        dataset: A Dataset.
        entry: One of ChooseCandidate's contenders.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, dataset: Any, entry: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.dataset = dataset
        self.entry = entry

    def execute(self, context: Context) -> dict[str, Any]:
        """Evaluate; raises EndpointError where the evaluation endpoint does not answer."""
        spec = self.frozen(self.spec, context)
        dataset = Dataset.from_json(self.read(self.dataset, context))
        entry = self.read(self.entry, context)
        contender = Contender.from_json(entry["contender"])
        # Read by the task's map_index_template.
        context["title"] = contender.name  # type: ignore[typeddict-unknown-key]
        model = Model.from_json(entry["model"]) if entry["model"] else None
        report = self.ask(contender, model, dataset.held_out, "held_out", spec, dataset, context["run_id"])
        return report.to_json()


class Decide(_Judging):
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
            live = releases.live(tx, spec.deploy.alias)
        decision = gate.decide(spec, dataset, reports, outcomes, live.model.digest if live else None)
        html = page(spec, dataset, decision, reports, outcomes, candidate(self.read(self.entries, context)))
        stored = self.artifacts.put_bytes(html.encode(), "text/html")
        with self.db.write() as tx:
            artifacts_index.add(tx, self.pipeline, "evaluation", stored, now())
        self.let_go(spec, context["run_id"], *reports)
        self.page = self.page_of(stored)
        self.log.info("%s: %s", decision.verdict, decision.reason)
        for check in decision.checks:
            self.log.info("  %s, %s: %s", check.name, check.verdict, check.sentence)
        return decision.model_copy(update={"report": stored}).to_json()


class ReleaseWinner(RetuneOperator):
    """Makes a numbered release of a promoted candidate; skips, and so emits nothing, otherwise.

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
        if decision.verdict is not Verdict.PROMOTE:
            raise AirflowSkipException(f"{decision.verdict}: {decision.reason}")
        winner = candidate(self.read(self.entries, context))
        with self.db.write() as tx:
            newest = releases.newest(tx, self.pipeline)
            if newest and newest.model.digest == winner.digest and newest.dag_run_id != context["run_id"]:
                # It waits to be rolled out, or someone took it off; another number would not change that.
                raise AirflowSkipException(f"release {newest.number} is this very model")
            release = releases.create(
                tx,
                self.pipeline,
                decision.spec_digest,
                winner,
                Dataset.from_json(self.read(self.dataset, context)).digest,
                decision.reports["candidate"],
                decision,
                context["run_id"],
                now(),
            )
            detail = {"release": release.number, "model": release.model.digest, "reason": decision.reason}
            ledger.append(tx, self.pipeline, "released", self.actor(context), detail, now())
        context["outlet_events"][release_asset(self.pipeline)].extra = {"release": release.number}
        self.log.info("release %d: %s", release.number, decision.reason)
        return release.to_json()


def candidate(entries: list[dict[str, Any]]) -> Model:
    """Return the candidate's model among ChooseCandidate's contenders."""
    return next(Model.from_json(e["model"]) for e in entries if e["contender"]["name"] == "candidate")


def by_name(reports: Any) -> dict[str, EvalReport]:
    """Return contender name -> EvalReport."""
    read = [EvalReport.from_json(report) for report in reports]
    return {report.contender.name: report for report in read}
