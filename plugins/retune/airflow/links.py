"""Links from a task to what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class _Page(BaseOperatorLink):
    """A link whose address the task keeps in an attribute of its own while it runs.

    Airflow asks for the address on the worker when the task ends and keeps it in XCom; its API
    server only reads it there and imports nothing of Retune.
    """

    attribute: ClassVar[str] = "page"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; empty where the task made no page."""
        return str(getattr(operator, self.attribute, ""))


class ValidationPage(_Page):
    """Great Expectations' page of the source rows."""

    name = "Validation page"


class DataCard(_Page):
    """What a dataset holds, what was left out of it and why."""

    name = "Data card"
    attribute = "card"


class MLflowRun(_Page):
    """The training's run in MLflow."""

    name = "MLflow run"


class JobPage(_Page):
    """The job at whoever trains it."""

    name = "Job"
    attribute = "job_page"


class AdvicePage(_Page):
    """Whether to train at all, and why."""

    name = "Advice"


class ModelCard(_Page):
    """What a model is for and how it did, in Hugging Face's form."""

    name = "Model card"
    attribute = "card"


class EvaluationPage(_Page):
    """The evidence of the gate's decision."""

    name = "Evaluation"


class DriftPage(_Page):
    """Evidently's page of the window."""

    name = "Drift report"
