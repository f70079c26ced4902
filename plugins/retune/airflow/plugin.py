"""The Airflow plugin: links, pages and the listener."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from retune.airflow import missing_pools
from retune.airflow.links import DataCard, DriftPage, EvaluationPage, JobPage, MLflowRun, ValidationPage
from retune.airflow.ui import pages


class RetunePlugin(AirflowPlugin):
    """What Retune adds to Airflow."""

    name = "retune"
    operator_extra_links = [
        DataCard(),
        ValidationPage(),
        MLflowRun(),
        JobPage(),
        EvaluationPage(),
        DriftPage(),
    ]
    fastapi_apps = [{"name": "Retune", "app": pages, "url_prefix": "/retune"}]
    listeners = [missing_pools]
