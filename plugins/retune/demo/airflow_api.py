"""A small client of Airflow's REST API, for what the demo asks of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from retune.errors import SetupError

_ENDED = ("success", "failed")
_ANSWER_S = 90.0  # longer than any time-out of SQLite's lock that an installation is given
_TRIES = 4


@dataclass(frozen=True)
class TaskSpan:
    """One task instance of a finished run."""

    task_id: str
    map_index: int
    state: str
    start: datetime | None
    end: datetime | None

    @property
    def seconds(self) -> float:
        """Wall time of its last try; 0 where it never ran."""
        return (self.end - self.start).total_seconds() if self.start and self.end else 0.0


class AirflowApi:
    """Talks to one Airflow as its administrator.

    Args:
        url: The API server's base URL.
        passwords: File in which the simple auth manager put the generated passwords.
        alive: Raises where Airflow's processes have ended, so that waiting stops.
    """

    def __init__(self, url: str, passwords: Path, alive: Callable[[], None]) -> None:
        self.url = url
        self.passwords = passwords
        self._alive = alive
        self._http = httpx.Client(base_url=url, timeout=_ANSWER_S, trust_env=False)

    def wait_until(self, what: str, found: Callable[[], Any], timeout_s: float, poll_s: float = 0.5) -> Any:
        """Return the first true answer of `found`.

        Raises:
            SetupError: A process ended, or the time is up.
        """
        deadline = time.monotonic() + timeout_s
        while not (answer := found()):
            self._alive()
            if time.monotonic() > deadline:
                raise SetupError(f"{what} took more than {timeout_s:.0f} s", "see Airflow's log")
            time.sleep(poll_s)
        return answer

    def log_in(self, timeout_s: float) -> None:
        """Wait until every component is healthy and take a token."""
        self.wait_until("Airflow's start", self._healthy, timeout_s)
        user, password = next(iter(json.loads(self.passwords.read_text()).items()))
        answer = self._http.post("/auth/token", json={"username": user, "password": password})
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _healthy(self) -> bool:
        try:
            answer = self._http.get("/api/v2/monitor/health")
            parts = answer.json() if answer.is_success else {}
        except (httpx.HTTPError, ValueError):
            return False
        wanted = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return all((parts.get(part) or {}).get("status") == "healthy" for part in wanted)

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Return the answer's JSON; raises SetupError with Airflow's message where it refuses."""
        answer = self._send(method, path, **kwargs)
        if not answer.is_success:
            raise SetupError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request, and send it again where Airflow answers 500: what it began is rolled back then.

        Airflow commits its audit log on its event loop. On SQLite it may wait there for the lock of another
        request, such as a task's, whose own commit waits for that loop; the driver gives up after 5 s.
        """
        for _ in range(_TRIES - 1):
            answer = self._http.request(method, f"/api/v2{path}", **kwargs)
            if answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
                return answer
        return self._http.request(method, f"/api/v2{path}", **kwargs)

    def make_pool(self, name: str, slots: int) -> None:
        """Make a pool in which deferred tasks count, unless it is there."""
        pool = {"name": name, "slots": slots, "include_deferred": True, "description": "Retune's GPU queue"}
        answer = self._send("POST", "/pools", json=pool)
        if answer.status_code not in (201, 409):
            raise SetupError(f"Airflow did not make pool {name}: {answer.text[:300]}")

    def unpause(self, dag_id: str, timeout_s: float) -> None:
        """Wait until the DAG is parsed, and let it run."""

        def known() -> bool:
            self._no_import_errors()
            return self._http.get(f"/api/v2/dags/{dag_id}").is_success

        self.wait_until(f"parsing {dag_id}", known, timeout_s)
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def _no_import_errors(self) -> None:
        errors = self.call("GET", "/importErrors")["import_errors"]
        if errors:
            raise SetupError(
                f"{errors[0]['filename']} cannot be imported: {errors[0]['stack_trace'][-1500:]}"
            )

    def trigger(self, dag_id: str) -> str:
        """Start a run and return its id."""
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None})["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the DAG's runs, newest first."""
        runs: list[dict[str, Any]] = self.call(
            "GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-id", "limit": 50}
        )["dag_runs"]
        return runs

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one run as the REST API says it."""
        found: dict[str, Any] = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        return found

    def tasks(self, dag_id: str, run_id: str) -> list[TaskSpan]:
        """Return the run's task instances, in order of their start."""
        found = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 100})
        spans = [
            TaskSpan(
                item["task_id"],
                item["map_index"],
                item["state"] or "",
                _time(item["start_date"]),
                _time(item["end_date"]),
            )
            for item in found["task_instances"]
        ]
        return sorted(spans, key=lambda span: (span.start is None, span.start))

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task of a run returned, as plain JSON."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"stringify": "false"})["value"]

    def xcoms(self, dag_id: str, run_id: str, task_id: str) -> list[Any]:
        """Return what the instances of a mapped task returned, as plain JSON; failed ones left out."""
        found = []
        for span in self.tasks(dag_id, run_id):
            if span.task_id == task_id and span.state == "success":
                path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
                params = {"stringify": "false", "map_index": str(span.map_index)}
                found.append(self.call("GET", path, params=params)["value"])
        return found

    def follow(
        self, dag_id: str, run_id: str, timeout_s: float, tell: Callable[[str], None]
    ) -> dict[str, Any]:
        """Wait for a run's end, telling each task's as it comes, and return the run.

        Raises:
            SetupError: The run failed; the error names the task.
        """
        told: set[tuple[str, int]] = set()

        def ended() -> dict[str, Any] | None:
            state = self.run(dag_id, run_id)  # before the tasks, so that none ends unseen in between
            for span in self.tasks(dag_id, run_id):
                key = (span.task_id, span.map_index)
                if span.state in ("success", "failed", "skipped", "upstream_failed") and key not in told:
                    told.add(key)
                    index = f" [{span.map_index}]" if span.map_index >= 0 else ""
                    tell(f"{dag_id}  {span.task_id}{index}: {span.state}, {span.seconds:.1f} s")
            return state if state["state"] in _ENDED else None

        run: dict[str, Any] = self.wait_until(f"{dag_id} {run_id}", ended, timeout_s, poll_s=0.7)
        if run["state"] != "success":
            failed = [span.task_id for span in self.tasks(dag_id, run_id) if span.state == "failed"]
            raise SetupError(
                f"{dag_id} {run_id} failed in {', '.join(failed) or 'no task'}",
                f"open {self.url}/dags/{dag_id}/runs/{run_id}",
            )
        return run


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
