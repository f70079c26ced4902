"""What Airflow's provider registry reads. It must import nothing."""

from __future__ import annotations

from typing import Any

_LINKS = "retune.airflow.links."


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata: its extra links and its configuration section."""
    return {
        "package-name": "airflow-provider-retune",
        "name": "Retune",
        "description": "Fine-tune, gate, roll out, watch and retrain language models.",
        "extra-links": [
            _LINKS + name
            for name in (
                "DataCard",
                "ValidationPage",
                "AdvicePage",
                "MLflowRun",
                "JobPage",
                "EvaluationPage",
                "ModelCard",
                "DriftPage",
            )
        ],
        "config": {
            "retune": {
                "description": "Where Retune keeps its things. Unset options fall back to RETUNE_<OPTION> "
                "of the environment, then to the default that is named here.",
                "options": {
                    name: _option(description, example) for name, (description, example) in _OPTIONS.items()
                },
            }
        },
    }


_OPTIONS = {
    "project": (
        "Folder that holds include/pipelines; every path of a spec resolves against it. "
        "Default: the nearest one at or above the working directory.",
        "/opt/retune",
    ),
    "home": ("Local working files of each host. Default: .retune in the project.", "/var/lib/retune"),
    "state_url": (
        "SQLAlchemy URL of Retune's own database. Default: SQLite in home.",
        "postgresql+psycopg2://retune@db/retune",
    ),
    "artifacts_url": ("fsspec URL of the artifacts. Default: a folder in home.", "s3://retune/artifacts"),
    "captured_url": ("fsspec URL of captured traffic. Default: a folder in home.", "s3://retune/captured"),
    "mlflow_uri": ("MLflow's tracking store or server. Default: SQLite in home.", "http://mlflow:5000"),
    "mlflow_page": ("Address of MLflow's pages for people. Default: none.", "https://mlflow.example.com"),
    "trainer_python": (
        "Interpreter that runs `python -m retune.training`. Default: Airflow's own.",
        "/opt/trainer/bin/python",
    ),
    "vllm_python": (
        "Interpreter that has vLLM. Default: .venv-vllm in the project.",
        "/opt/vllm/bin/python",
    ),
    "sources_private_hosts": (
        "Web servers with private addresses that data.sources may name, as host or host:port, "
        "parted by commas. Default: none.",
        "data.internal,10.0.0.5:9000",
    ),
    "settle_s": (
        "Longest time in seconds until a job that was asked for shows up in a provider's list; no job is "
        "asked for twice within it. Default: 120.",
        "300",
    ),
}


def _option(description: str, example: str) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": "string",
        "example": example,
        "default": None,
    }
