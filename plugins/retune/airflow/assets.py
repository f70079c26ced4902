"""The assets that wake a pipeline's DAGs. An event only wakes; the run reads the state."""

from __future__ import annotations

from airflow.sdk import Asset


def data_asset(pipeline: str) -> Asset:
    """New rows are there: wakes `<pipeline>.tune`. Any DAG or REST client may emit it."""
    return Asset(uri=f"retune://{pipeline}/data", name=f"retune://{pipeline}/data")


def drift_asset(pipeline: str) -> Asset:
    """The traffic has moved: wakes `<pipeline>.tune`."""
    return Asset(uri=f"retune://{pipeline}/drift", name=f"retune://{pipeline}/drift")


def release_asset(pipeline: str) -> Asset:
    """A release was made: wakes `<pipeline>.deploy`."""
    return Asset(uri=f"retune://{pipeline}/release", name=f"retune://{pipeline}/release")
