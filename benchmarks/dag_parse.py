"""What Retune adds to the parsing of a DAG file, beside a plain file of the same shape.

    PYTHONPATH=plugins python -m benchmarks.dag_parse [--rounds N --pipelines N]

Airflow parses a file in a fresh process, and once more in each task's. So every round is a process:
it loads Airflow, then times one file. The peer has as many DAGs, tasks, assets and schedules, of
Airflow's own operators. Times are CPU and wall seconds; the least of all rounds is the file's cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "dag_parse.json"
CHILD = """
import json, runpy, sys, time
import airflow
from airflow.dag_processing.dagbag import DagBag
import airflow.serialization.serialized_objects
wall, cpu = time.perf_counter(), time.process_time()
found = runpy.run_path(sys.argv[1]).values()
cost = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
print(json.dumps({"dags": len({dag.dag_id for dag in found if type(dag).__name__ == "DAG"}), **cost}))
"""
PEER = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, chain

def make(name, verb, tasks, schedule, outlet):
    with DAG(f"{name}.{verb}", schedule=schedule, tags=["peer"], catchup=False, max_active_runs=1) as dag:
        line = [EmptyOperator(task_id=f"task_{number}") for number in range(tasks)]
        line[-1].outlets = [outlet]
        chain(*line)
    return dag

for number in range(PIPELINES):
    name = f"peer-{number}"
    data, drift, release = (Asset(f"peer://{name}/{kind}") for kind in ("data", "drift", "release"))
    weekly = CronTriggerTimetable("0 3 * * 1", timezone="UTC")
    cron = AssetOrTimeSchedule(timetable=weekly, assets=data | drift)
    for verb, tasks, schedule, outlet in (
        ("tune", 8, cron, release), ("deploy", 4, [release], data), ("watch", 2, "@hourly", drift)
    ):
        dag = make(name, verb, tasks, schedule, outlet)
        globals()[dag.dag_id] = dag
"""


def parse(file: Path, project: Path) -> dict[str, float]:
    """Parse a file in a new process."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "RETUNE"))},
        "AIRFLOW_HOME": str(project / "airflow"),
        "RETUNE_PROJECT": str(project),
    }
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(file)], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pipelines", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        specs = project / "include" / "pipelines"
        specs.mkdir(parents=True)
        sample = (ROOT / "include" / "pipelines" / "support-tickets.yaml").read_text()
        for number in range(asked.pipelines):
            (specs / f"p{number}.yaml").write_text(
                sample.replace("pipeline: support-tickets", f"pipeline: p{number}")
            )
        peer = project / "peer_dags.py"
        peer.write_text(PEER.replace("PIPELINES", str(asked.pipelines)))
        files = {"retune": ROOT / "dags" / "retune_pipelines.py", "peer": peer}
        rounds = [{name: parse(file, project) for name, file in files.items()} for _ in range(asked.rounds)]
    result: dict[str, object] = {"pipelines": asked.pipelines, "rounds": asked.rounds}
    for kind in ("cpu_s", "wall_s"):
        least = {name: min(found[name][kind] for found in rounds) for name in files}
        result[kind] = {name: round(value, 3) for name, value in least.items()}
        result[f"beyond_peer_{kind}"] = round(least["retune"] - least["peer"], 3)
    assert rounds[0]["retune"]["dags"] == rounds[0]["peer"]["dags"] == 3 * asked.pipelines
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
