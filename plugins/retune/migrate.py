"""`retune migrate`: brings every store of an installation to this version."""

from __future__ import annotations

from collections.abc import Callable

from filelock import FileLock

from retune import tracking
from retune.errors import SetupError
from retune.pools import GPU_POOL, airflow_command, make_gpu_pool
from retune.settings import Settings
from retune.state.database import Database


def migrate(settings: Settings, report: Callable[[str], None] = print) -> None:
    """Migrate Retune's stores and make Airflow's GPU pool where AIRFLOW_HOME is set.

    Does nothing where all is there.

    Args:
        settings: The installation.
        report: Takes one line a store.

    Raises:
        StateError: The state cannot be migrated.
        SetupError: MLflow's store cannot be opened.
    """
    migrate_stores(settings, report)
    command = airflow_command()
    if command is None:
        report(f"pool {GPU_POOL}: AIRFLOW_HOME is not set; run this again where Airflow runs")
        return
    try:
        made = make_gpu_pool(command)
    except SetupError as error:
        report(f"pool {GPU_POOL}: {error}")
        return
    report(f"pool {GPU_POOL}: {'made with 1 slot' if made else 'is there'}")


def migrate_stores(settings: Settings, report: Callable[[str], None]) -> None:
    """Migrate Retune's state and MLflow's store, leaving Airflow alone; raises as `migrate` does."""
    settings.home.mkdir(parents=True, exist_ok=True)
    db = Database(settings.state_url)
    with FileLock(settings.home / "migrate.lock"):
        db.migrate()
    report(f"state: {db}")
    tracking.initialise(settings)
    report("MLflow: its store is ready")
