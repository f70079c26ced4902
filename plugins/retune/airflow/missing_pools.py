"""Says so when a pool is missing: Airflow would leave its tasks waiting for ever, in silence.

Tasks cannot see pools. The scheduler can: when it starts a run, it notes the missing pools on the
run, where the run's first task finds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from retune.errors import SetupError

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

TAG = "retune"
_NOTE = "retune_missing_pools"


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Note on a starting run of Retune which of its tasks' pools do not exist."""
    from airflow.models.pool import Pool
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    dag, session = dag_run.dag, object_session(dag_run)
    if dag is None or session is None or TAG not in dag.tags:
        return
    there = set(session.scalars(select(Pool.pool)))
    missing = sorted({task.pool for task in dag.tasks} - there)
    noted = dict(dag_run.conf or {})
    if noted.pop(_NOTE, []) != missing:
        dag_run.conf = {**noted, _NOTE: missing} if missing else noted


def require_pools(conf: dict[str, Any] | None) -> None:
    """Raise SetupError where the scheduler noted a missing pool on the run.

    Args:
        conf: The run's conf.
    """
    missing = (conf or {}).get(_NOTE)
    if missing:
        raise SetupError(
            f"pool {', '.join(missing)} does not exist, so tasks of this run would wait for ever",
            f"airflow pools set {missing[0]} 1 'one slot a GPU', then clear this run",
        )
