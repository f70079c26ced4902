"""Every spec in include/pipelines becomes three DAGs (tune, deploy, watch); retune.cleanup is the fleet's."""

from __future__ import annotations

from retune.airflow.dags import load_pipelines

load_pipelines(globals())
