"""Links from a task to what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class _Page(BaseOperatorLink):
    """A link whose address the task keeps in its `page` while it runs.

    Airflow asks for the address on the worker when the task ends and keeps it in XCom; its API
    server only reads it there and imports nothing of Retune.
    """

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; empty where the task made no page."""
        return str(getattr(operator, "page", ""))


class ValidationPage(_Page):
    """Great Expectations' page of the source rows."""

    name = "Validation page"


class MLflowRun(_Page):
    """The training's run in MLflow."""

    name = "MLflow run"


class EvaluationPage(_Page):
    """The evidence of the gate's decision."""

    name = "Evaluation"


class DriftPage(_Page):
    """Evidently's page of the window."""

    name = "Drift report"
