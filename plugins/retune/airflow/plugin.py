"""The Airflow plugin: links, pages and the listener."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from retune.airflow.links import DriftPage, EvaluationPage, MLflowRun, ValidationPage


class RetunePlugin(AirflowPlugin):
    """What Retune adds to Airflow."""

    name = "retune"
    operator_extra_links = [ValidationPage(), MLflowRun(), EvaluationPage(), DriftPage()]
