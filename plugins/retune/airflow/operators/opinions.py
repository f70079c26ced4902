"""The verb of `<pipeline>.tune` that asks a model which answers are better."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from retune.airflow.configuration import AirflowConnections
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.operators.review import by_key
from retune.errors import EndpointError
from retune.state import artifacts_index


class AskJudge(RetuneOperator):
    """Lets the spec's judge compare the candidate's answers with its rival's; returns Votes, or None.

    A judge never decides alone, so one that cannot be reached stops no run.

    Args:
        spec: Digest of the frozen spec.
        reports: EvalReports of the held-out set.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, reports: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.reports = reports

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Ask; the votes count only where the judge was seen to judge as people do."""
        from retune.evaluation.judging.judge import hear_judge
        from retune.evaluation.judging.pairs import rival_of
        from retune.evaluation.outcomes import read_outcomes

        spec, reports = self.frozen(self.spec, context), by_key(self.read(self.reports, context))
        rival = rival_of(reports)
        if spec.evaluation.judge is None or not rival or "candidate" not in reports:
            return None
        both = [read_outcomes(reports[name], self.artifacts) for name in ("candidate", rival)]
        try:
            found = hear_judge(
                both[0],
                both[1],
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
