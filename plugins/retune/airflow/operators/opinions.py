"""Opinions of the candidate's answers beside a rival's: what all who ask for one know, and a model's."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from retune.airflow.configuration import AirflowConnections
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.operators.evaluate import by_key
from retune.errors import EndpointError
from retune.records import EvalReport, Outcome
from retune.spec import PipelineSpec
from retune.state import artifacts_index


class Opining(RetuneOperator):
    """Base of the verbs that ask whose answers to the held-out set are better.

    Args:
        spec: Digest of the frozen spec.
        reports: What Evaluate returned.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, reports: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.reports = reports

    def inputs(self, context: Context) -> tuple[PipelineSpec, dict[str, EvalReport]]:
        """Return the frozen spec and the reports by `by_key`; none where the run ended before there were."""
        return self.frozen(self.spec, context), by_key(self.read(self.reports, context) or ())

    def rival(self, reports: dict[str, EvalReport]) -> str:
        """Return whom the candidate is held against; empty where there are no two to compare."""
        from retune.evaluation.judging.pairs import rival_of

        return rival_of(reports) if "candidate" in reports else ""

    def both(self, reports: dict[str, EvalReport], rival: str) -> tuple[list[Outcome], list[Outcome]]:
        """Return the candidate's answers and its rival's."""
        from retune.evaluation.outcomes import read_outcomes

        mine, theirs = (read_outcomes(reports[name], self.artifacts) for name in ("candidate", rival))
        return mine, theirs


class AskJudge(Opining):
    """Lets the spec's judge compare the candidate's answers with its rival's; returns Votes, or None.

    A judge never decides alone, so one that cannot be reached stops no run.
    """

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Ask; the votes count only where the judge was seen to judge as people do."""
        from retune.evaluation.judging.judge import hear_judge

        spec, reports = self.inputs(context)
        rival = self.rival(reports)
        if spec.evaluation.judge is None or not rival:
            return None
        try:
            found = hear_judge(
                *self.both(reports, rival),
                rival,
                spec=spec,
                connections=AirflowConnections(),
                settings=self.settings,
                artifacts=self.artifacts,
                report=self.log.info,
            )
        except EndpointError as error:
            self.log.warning("the judge is not heard: %s", error)
            return None
        if found.votes is not None:
            with self.db.write() as tx:
                artifacts_index.add(tx, self.pipeline, "votes", found.votes, now())
        self.log.info(found.sentence)
        return found.to_json()
