"""A real Airflow whose parts can be killed one by one, and fine-tuning tasks in it.

Scheduler (with LocalExecutor's workers), triggerer, DAG processor and API servers run in process groups of
their own, on SQLite. What waits for a heartbeat to stop is set short: with Airflow's defaults a task whose
worker is gone is missed after 300 s, a triggerer after 30 s.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from retune import tracking
from retune.demo.airflow_api import AirflowApi
from retune.records import Recipe
from retune.serving.processes import end_group, free_ports, members
from retune.spec import OpenAIRecipe, PipelineSpec, VertexRecipe
from retune.state import jobs, specs
from tests.tuning import NOW, Bench, make_bench

DAG_FILE = Path(__file__).parent / "crash_dags.py"
# Two servers: Airflow commits its audit log on its event loop, so on SQLite one server would wait there for
# the lock of a task's request whose own commit waits for that loop.
PARTS = {
    "api": ("api-server", "--apps", "core"),
    "tasks-api": ("api-server", "--apps", "execution"),
    "scheduler": ("scheduler",),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer",),
}
TASK = "fine_tune"
PIPELINE = "tiny"
TASK_HEARTBEAT_TIMEOUT_S, TRIGGERER_HEARTBEAT_TIMEOUT_S = 20, 10
_START_S, _END_S = 300.0, 600.0
_OPTIONS = {
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__EXECUTOR": "LocalExecutor",
    "CORE__PARALLELISM": "8",
    "API__HOST": "127.0.0.1",
    "API__WORKERS": "1",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(TASK_HEARTBEAT_TIMEOUT_S),
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TRIGGERER_HEARTBEAT_TIMEOUT_S),
}


@dataclass(frozen=True)
class Try:
    """One try of a task."""

    number: int
    state: str
    started_at: float | None
    """Seconds since 1970."""


class AirflowHouse:
    """One Airflow installation below a folder, with a small dataset; not started.

    Args:
        folder: An empty one.
        environment: More variables of its processes, such as connections.
        settle_s: As Retune's setting.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], settle_s: float) -> None:
        self.folder = folder
        self.bench: Bench = make_bench(folder / "project")
        tracking.initialise(self.bench.settings)
        self.dataset = self.bench.dataset()
        self.home, self.dags = folder / "airflow", folder / "dags"
        self.fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._more = dict(environment)
        self._settle_s = settle_s
        ports = free_ports("127.0.0.1", dict.fromkeys(("api", "tasks-api", "worker", "trigger"), 0))
        self._environment = self._variables(ports)
        self._listen = {name: ("--port", str(ports[name])) for name in ("api", "tasks-api")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._runs: dict[str, str] = {}
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        self.api = AirflowApi(f"http://127.0.0.1:{ports['api']}", passwords, self._check)

    @property
    def database(self) -> Path:
        """Airflow's metadata database."""
        return self.home / "airflow.db"

    def _variables(self, ports: Mapping[str, int]) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "RETUNE_"))}
        url = f"http://127.0.0.1:{ports['api']}"
        options = _OPTIONS | {
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__PLUGINS_FOLDER": str(self.folder / "no-plugins"),
            "CORE__FERNET_KEY": self.fernet_key,
            "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{ports['tasks-api']}/execution/",
            # A machine that is busy holds the file's lock for longer than the driver's 5 s.
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout=60",
            "API__BASE_URL": url,
            "API__SECRET_KEY": secrets.token_hex(16),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "LOGGING__WORKER_LOG_SERVER_PORT": str(ports["worker"]),
            "LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports["trigger"]),
        }
        return {
            **kept,
            **{f"AIRFLOW__{name}": value for name, value in options.items()},
            "AIRFLOW_HOME": str(self.home),
            "RETUNE_PROJECT": str(self.bench.settings.project),
            "RETUNE_SETTLE_S": str(self._settle_s),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
            **self._more,
        }

    def freeze(self, when_cleared: str = "cancel") -> str:
        """Freeze a spec and return its digest; the tasks read of it what is to happen when they end."""
        spec = PipelineSpec.model_validate(
            {
                "version": 1,
                "pipeline": PIPELINE,
                "data": {"sources": ["rows.jsonl"], "format": "chat", "expectations": "rows.json"},
                "recipes": [{"backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14"}],
                "training": {"when_cleared": when_cleared},
                "evaluation": {"endpoint": "vllm"},
                "deploy": {"endpoint": "vllm", "alias": PIPELINE},
            }
        )
        with self.bench.db.write() as tx:
            return specs.freeze(tx, spec, NOW)

    def order(
        self, name: str, seed: int, spec: str, recipe: OpenAIRecipe | VertexRecipe, **given: Any
    ) -> dict[str, Any]:
        """Return a line of `orders.json`: a DAG of that name, whose job is like no other by its seed."""
        resolved = Recipe(
            spec_digest=spec,
            index=0,
            backend=recipe.backend,
            base_model=recipe.base_model,
            base_digest=f"{recipe.backend}:{recipe.base_model}",
            chat_template_digest="",
            method=recipe.method,
            hyperparameters=recipe.hyperparameters,
            seed=seed,
            trainer=recipe.backend,
            place=recipe.place,
        )
        return {
            "name": name,
            "pipeline": PIPELINE,
            "spec": spec,
            "dataset": self.dataset.to_json(),
            "recipe": resolved.to_json(),
            **given,
        }

    def start(self, orders: list[dict[str, Any]]) -> None:
        """Make the databases and the DAGs, start every part and wait until all are healthy."""
        (self.dags / "crashes").mkdir(parents=True)
        shutil.copy(DAG_FILE, self.dags)
        (self.dags / "orders.json").write_text(json.dumps(orders))
        self.home.mkdir()
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        with (self.folder / "migrate.log").open("wb") as log:
            subprocess.run(command, env=self._environment, stdout=log, stderr=log, check=True)
        for part in PARTS:
            self.start_part(part)
        self.api.log_in(_START_S)
        for order in orders:
            self.api.unpause(order["name"], _START_S)

    def start_part(self, part: str) -> None:
        """Start one part."""
        with (self.folder / f"{part}.log").open("ab") as log:
            self._running[part] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *PARTS[part], *self._listen.get(part, ())],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end_part(self, part: str, by: signal.Signals) -> None:
        """End one part with all its processes by a signal, and wait until they are gone."""
        child = self._running.pop(part)
        if by is signal.SIGKILL:
            os.killpg(child.pid, by)
        else:
            child.send_signal(by)  # as a service's supervisor does: it ends its own children
        child.wait(timeout=_END_S)
        self.api.wait_until(f"the end of {part}", lambda: not members(child.pid), _END_S, poll_s=0.05)

    def stop(self) -> None:
        """End every part."""
        for part in list(self._running):
            child = self._running.pop(part)
            end_group(child.pid, child)
        self.bench.db.engine.dispose()

    def _check(self) -> None:
        for part, child in self._running.items():
            if child.poll() is not None:
                words = (self.folder / f"{part}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{part} ended with {child.returncode}: {words}")

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """Return the first true answer of `found`."""
        return self.api.wait_until(what, found, _END_S, poll_s=0.3)

    def begin(self, dag: str) -> None:
        """Start the run of a DAG that all else here is about."""
        self._runs[dag] = self.api.trigger(dag)

    def run(self, dag: str) -> dict[str, Any]:
        """Return the DAG's run."""
        return self.api.run(dag, self._runs[dag])

    def ended(self, dag: str) -> dict[str, Any]:
        """Wait for the end of the DAG's run, and return it."""

        def found() -> dict[str, Any] | None:
            run = self.run(dag)
            return run if run["state"] in ("success", "failed") else None

        run: dict[str, Any] = self.until(f"the end of {dag}", found)
        return run

    def waits(self, dag: str) -> bool:
        """Say whether the task of the DAG's run is deferred, with a triggerer for it."""
        return self.triggerer(dag) is not None

    def is_watched(self, dag: str) -> bool:
        """Say whether the trigger of the DAG's task runs, by its log: only then it hears of a clear."""
        logs = (self.home / "logs" / f"dag_id={dag}").rglob("*.trigger.*.log")
        return any(" starting" in log.read_text() for log in logs)

    def triggerer(self, dag: str) -> int | None:
        """Return which triggerer the task of the DAG's run waits in; None: in none."""
        task = self.api.call("GET", f"/dags/{dag}/dagRuns/{self._runs[dag]}/taskInstances/{TASK}")
        job = task["triggerer_job"]
        return int(job["id"]) if task["state"] == "deferred" and job else None

    def clear(self, dag: str) -> None:
        """Clear the task of the DAG's run, as the button on Airflow's page does."""
        body = {
            "dry_run": False,
            "dag_run_id": self._runs[dag],
            "task_ids": [TASK],
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.api.call("POST", f"/dags/{dag}/clearTaskInstances", json=body)

    def tries(self, dag: str) -> list[Try]:
        """Return the tries of the task of the DAG's run, the first one first."""
        found = self.api.call("GET", f"/dags/{dag}/dagRuns/{self._runs[dag]}/taskInstances/{TASK}/tries")
        return [
            Try(one["try_number"], one["state"] or "", seconds_of(one["start_date"]))
            for one in found["task_instances"]
        ]

    def keys(self, seed: int) -> list[str]:
        """Return the keys of the jobs that were intended for a recipe's seed: one an attempt."""
        with self.bench.db.read() as tx:
            return [row.key for row, _ in jobs.list_all(tx) if row.intent["recipe"]["seed"] == seed]


def seconds_of(text: str | None) -> float | None:
    """Return a time of the REST API in seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
