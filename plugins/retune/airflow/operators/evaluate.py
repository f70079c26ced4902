"""The verbs of `<pipeline>.tune` that ask contenders, wherever each is served."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Context

from retune.airflow import configuration
from retune.airflow.operators.base import RetuneOperator, now
from retune.records import Contender, Dataset, EvalReport, Model, Split
from retune.spec import PipelineSpec
from retune.state import artifacts_index, held_out, placements, releases
from retune.state.database import Database

_LEASE = timedelta(hours=2)
_LOAD_TIMEOUT_S = 300.0


class _Asking(RetuneOperator):
    """Base of the verbs that ask contenders."""

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
        """Load the contender's model where it is an adapter, and let it answer a set."""
        from retune.evaluation.evaluate import evaluate
        from retune.serving import rollout

        endpoint = spec.evaluation.endpoint
        if model is not None and model.kind == "adapter":
            until, purpose = now() + _LEASE, lease(run_id, contender.name)
            rollout.place(model, endpoint, purpose, until, db=self.db, now=now())
            rollout.wait_ready(model.digest, endpoint, db=self.db, timeout_s=_LOAD_TIMEOUT_S)
        report = evaluate(
            contender,
            split,
            set_name,
            spec=spec,
            labels=dataset.labels,
            connections=configuration.AirflowConnections(),
            artifacts=self.artifacts,
            report=self.log.info,
        )
        with self.db.write() as tx:
            # So that no cleanup takes them for nobody's while the run waits for its decision.
            artifacts_index.add(tx, self.pipeline, "outcomes", report.outcomes, now())
        return report


def let_go(db: Database, spec: PipelineSpec, run_id: str, *names: str) -> None:
    """Give the contenders' places at the evaluation endpoint back."""
    with db.write() as tx:
        for name in names:
            placements.release(tx, spec.evaluation.endpoint, lease(run_id, name))


def lease(run_id: str, name: str) -> str:
    """Return the purpose under which a contender is loaded for evaluation."""
    return f"evaluation:{run_id}:{name}"


class ChooseCandidate(_Asking):
    """Lets the trained models compete on the validation set.

    Returns the contenders for the held-out set: base, candidate and, where one serves, champion;
    each as `{"contender": Contender, "model": Model or None}`.

    Args:
        spec: Digest of the frozen spec.
        dataset: A Dataset.
        models: Lists of the trained Models; recipes that failed are not among them.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, dataset: Any, models: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.dataset = dataset
        self.models = models

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Choose; raises EndpointError where a contender does not answer, or no model can."""
        from retune.evaluation.contenders import able, finalists

        spec = self.frozen(self.spec, context)
        made = [Model.from_json(model) for some in self.models for model in self.read(some, context) or ()]
        models = able(made, spec, self.log.warning)
        chosen = models[0] if len(models) == 1 else models[self._best(models, spec, context)]
        self.log.info("the candidate is %s, of recipe %d", chosen.digest, chosen.recipe_index + 1)
        with self.db.read() as tx:
            live = releases.live(tx, self.pipeline)
        return [
            {"contender": contender.to_json(), "model": model.to_json() if model else None}
            for contender, model in finalists(chosen, live.model if live else None, spec)
        ]

    def _best(self, models: list[Model], spec: PipelineSpec, context: Context) -> int:
        from retune.evaluation.contenders import contender_of
        from retune.evaluation.selection import choose

        dataset = Dataset.from_json(self.read(self.dataset, context))
        reports = []
        for model in models:
            name = f"recipe-{model.recipe_index + 1}"
            contender = contender_of(name, model, spec)
            run_id = context["run_id"]
            report = self.ask(contender, model, dataset.validation, "validation", spec, dataset, run_id)
            let_go(self.db, spec, run_id, name)
            reports.append(report)
        return choose(reports, spec)


class Evaluate(_Asking):
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
        """Evaluate; raises EndpointError where the contender does not answer."""
        spec = self.frozen(self.spec, context)
        dataset = Dataset.from_json(self.read(self.dataset, context))
        entry = self.read(self.entry, context)
        contender = Contender.from_json(entry["contender"])
        # Read by the task's map_index_template.
        context["title"] = contender.name  # type: ignore[typeddict-unknown-key]
        model = Model.from_json(entry["model"]) if entry["model"] else None
        held = dataset.held_out.artifact.digest
        with self.db.write() as tx:
            # Before the first answer: one that a crash cuts off has seen it too.
            held_out.use(tx, self.pipeline, held, self.actor(context), contender.name, now())
            used = held_out.uses(tx, self.pipeline, held)
        self.log.info("%d runs have used the held-out set %s", used, held)
        report = self.ask(contender, model, dataset.held_out, "held_out", spec, dataset, context["run_id"])
        return report.to_json()
