"""The verb of `<pipeline>.tune` before money is spent: should it train at all?"""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from retune.advice.budget import Cost
from retune.airflow.links import AdvicePage
from retune.airflow.operators.base import now
from retune.airflow.operators.evaluate import Asked, Asking
from retune.errors import EndpointError
from retune.records import Advice, Dataset, EvalReport, Recipe
from retune.spec import PipelineSpec
from retune.state import artifacts_index, ledger, retrains


class Advise(Asking):
    """Asks the prompts on the validation set, and says whether to train; returns an Advice, or None.

    Where the spec's `advice.mode` is `follow` and the advice is not to train, the task skips, and the
    run ends there, unless an erasure owes the training. Where it is `off` nothing is asked. What is
    measured here costs no held-out example.

    Args:
        recipes: Lists of resolved Recipes; the first one's base model is asked.
        costs: A list of Costs, one for each recipe.
        kwargs: As OnDataset.
    """

    operator_extra_links = (AdvicePage(),)

    def __init__(self, *, recipes: Any, costs: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipes = recipes
        self.costs = costs

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Advise; raises AirflowSkipException where the spec follows an advice not to train."""
        spec, dataset = self.inputs(context)
        if spec.advice.mode == "off":
            self.log.info("advice.mode is off: nothing is asked")
            return None
        reports = self._reports(spec, dataset, context)
        advice = self._advice(spec, dataset, reports, context)
        self._publish(advice, context)
        if spec.advice.mode == "follow" and not advice.trains:
            self._end_unless_owed(advice)
        return advice.to_json()

    def _end_unless_owed(self, advice: Advice) -> None:
        with self.db.write() as tx:
            owed = retrains.owed(tx, self.pipeline, now())
        if owed is None:
            raise AirflowSkipException(f"not trained, as the spec follows the advice: {advice.reason}")
        self.log.info("trained against the advice, as the live release owes it: %s", owed.reason)

    def _reports(self, spec: PipelineSpec, dataset: Dataset, context: Context) -> list[EvalReport]:
        """Ask the prompts; where the endpoint does not answer, none: that stops no training by itself."""
        from retune.evaluation.baselines import prompts

        found = []
        recipes = [recipe for some in self.recipes for recipe in self.read(some, context) or ()]
        try:
            for contender in prompts(Recipe.from_json(recipes[0]), spec):
                asked = Asked(contender, None, "validation", dataset.validation)
                found.append(self.ask(asked, spec, dataset, context["run_id"]))
        except EndpointError as error:
            self.log.warning("prompts are not measured: %s", error)
        return found

    def _advice(
        self, spec: PipelineSpec, dataset: Dataset, reports: list[EvalReport], context: Context
    ) -> Advice:
        from retune.advice.readiness import advise
        from retune.evaluation.outcomes import read_outcomes

        figures = json.loads(self.artifacts.get_bytes(dataset.figures.digest)) if dataset.figures else {}
        return advise(
            spec,
            dataset,
            figures,
            {report.contender.name: report for report in reports},
            {report.contender.name: read_outcomes(report, self.artifacts) for report in reports},
            [Cost.model_validate(cost) for cost in self.read(self.costs, context)],
        )

    def _publish(self, advice: Advice, context: Context) -> None:
        from retune.advice.page import page

        stored = self.artifacts.put_bytes(page(self.pipeline, advice).encode(), "text/html")
        detail = {"verdict": advice.verdict, "reason": advice.reason, "page": stored.digest}
        with self.db.write() as tx:
            artifacts_index.add(tx, self.pipeline, "advice", stored, now())
            ledger.append(tx, self.pipeline, "advised", self.actor(context), detail, now())
        self.page = self.page_of(stored)
        self.log.info("%s: %s", advice.verdict, advice.reason)
        for finding in advice.evidence:
            self.log.info("  %s: %s %s", finding.what, finding.sentence, finding.action)
