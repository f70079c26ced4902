"""Fills Airflow's metadata database with deferred tasks: python -m benchmarks.deferred_tasks FILE

Runs in a process whose environment names the database. FILE has a line for each task, `[class, kwargs]` of
the trigger that it waits for. They are mapped tasks of one run of one DAG; the triggerer takes the first
ones first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import uuid4

DAG_ID, TASK_ID = "waiting_jobs", "wait"
DAG_FILE = f"""\
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("{DAG_ID}", schedule=None):
    EmptyOperator(task_id="{TASK_ID}")
"""


def fill(lines: list[str]) -> None:
    from airflow._shared.timezones import timezone
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with create_session() as session:
        dag = SerializedDagModel.get_dag(DAG_ID, session=session)
        assert dag is not None
        run: DagRun = dag.create_dagrun(
            run_id="all",
            run_after=timezone.utcnow(),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.CLI,
            state=DagRunState.RUNNING,
            session=session,
        )
        session.flush()
        first = run.get_task_instance(TASK_ID, session=session)
        assert first is not None
        row = {column.key: getattr(first, column.key) for column in TaskInstance.__mapper__.column_attrs}
        session.delete(first)
        now = timezone.utcnow()
        waits = [json.loads(line) for line in lines]
        triggers = [Trigger(classpath, kwargs, now) for classpath, kwargs in waits]
        session.add_all(triggers)
        session.flush()
        row |= {"state": TaskInstanceState.DEFERRED, "try_number": 1, "next_method": "waited"}
        tasks = [
            row | {"id": uuid4(), "map_index": number, "trigger_id": trigger.id}
            for number, trigger in enumerate(triggers)
        ]
        session.bulk_insert_mappings(TaskInstance.__mapper__, tasks)


if __name__ == "__main__":
    fill(Path(sys.argv[1]).read_text().splitlines())
