"""The DAG of the fleet: `retune.cleanup`."""

from __future__ import annotations

from airflow.sdk import DAG, Param, chain

from retune.airflow import manuals
from retune.airflow.missing_pools import TAG
from retune.airflow.operators.upkeep import MarkUnused, SweepUnused

FLEET = "retune"
"""The name that no pipeline may have."""


def cleanup_dag() -> DAG:
    """Return the DAG that removes, once a day, what nothing points at any more."""
    with DAG(
        f"{FLEET}.cleanup",
        doc_md=manuals.CLEANUP,
        schedule="@daily",
        tags={TAG},
        default_args={"owner": "retune"},
        catchup=False,
        max_active_runs=1,
        params={"dry_run": Param(False, type="boolean", description="Only mark: remove nothing.")},
    ) as dag:
        mark = MarkUnused(task_id="mark_unused", pipeline=FLEET)
        sweep = SweepUnused(task_id="sweep_unused", pipeline=FLEET)
        chain(mark, sweep)
    return dag
