"""`retune migrate`: brings every store of an installation to this version."""

from __future__ import annotations

import os
from collections.abc import Callable

from filelock import FileLock

from retune.errors import SetupError
from retune.pools import GPU_POOL, airflow_command, make_gpu_pool
from retune.settings import Settings
from retune.state.database import Database


def migrate(settings: Settings, report: Callable[[str], None] = print) -> None:
    """Migrate Retune's state, initialise MLflow's store and make Airflow's GPU pool.

    Does nothing where all is there. MLflow and Airflow are left alone where they are not in use.

    Args:
        settings: The installation.
        report: Takes one line a store.

    Raises:
        StateError: The state cannot be migrated.
        SetupError: MLflow's store cannot be opened, or Airflow refuses the pool.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    db = Database(settings.state_url)
    # Several processes may start at once, and MLflow's migrations break each other.
    with FileLock(settings.home / "migrate.lock"):
        db.migrate()
        report(f"state: {db}")
        report(f"MLflow: {_initialise_mlflow(settings.mlflow_uri)}")
    command = airflow_command()
    if command is None:
        report(f"pool {GPU_POOL}: no Airflow home here; run this again where Airflow runs")
        return
    try:
        made = make_gpu_pool(command)
    except SetupError as error:
        report(f"pool {GPU_POOL}: {error}")
        return
    report(f"pool {GPU_POOL}: {'made with 1 slot' if made else 'is there'}")


def _initialise_mlflow(uri: str) -> str:
    if uri.startswith(("http://", "https://")):
        return f"a server sees to its own store: {uri}"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import logging

    from mlflow import MlflowClient
    from sqlalchemy.engine import make_url

    # Both narrate each of MLflow's 50 migrations.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:  # MLflow wraps its driver's errors in several kinds
        raise SetupError(f"MLflow's store cannot be opened: {error}", "check RETUNE_MLFLOW_URI") from error
    return make_url(uri).render_as_string(hide_password=True)
