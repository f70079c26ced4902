"""Is one order one job and one bill, whatever part of a real Airflow is killed, and how soon is it back?

    PYTHONPATH=plugins python -m benchmarks.airflow_recovery

One Airflow runs FineTune tasks before an OpenAI emulator whose list lags and whose requests commit after the
connection broke. Each order's task, worker, triggerer or scheduler is killed (`kill -9`) at a point of its
own, and nothing but Airflow's own retry brings it back. Results go to benchmarks/results/.

A `must` that fails makes the command fail.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retune.spec import OpenAIRecipe
from retune.testing.emulators.process import Running, running
from tests.faults.airflow_house import (
    TASK_HEARTBEAT_TIMEOUT_S,
    TRIGGERER_HEARTBEAT_TIMEOUT_S,
    AirflowHouse,
)

RESULTS = Path(__file__).parent / "results" / "airflow_recovery.json"
LIST_LAG_S, LATE_S, SLOW_S, SETTLE_S = 1.0, 2.0, 2.0, 10.0
CREATE = "POST /v1/fine_tuning/jobs"
SHORT, LONG = ({"validating": 0.2, "queued": 0.2, "running": seconds} for seconds in (3.0, 12.0))
RECIPE = OpenAIRecipe(backend="openai", base_model="gpt-4.1-mini-2025-04-14", connection="openai_emulator")


@dataclass(frozen=True)
class Point:
    """Where a task is killed; see `tests/faults/crash_dags.py`."""

    event: str
    file: str
    function: str
    whom: str = "task"
    resumed: bool = False
    on_word: bool = False


UNDER_WAY = "while the request is under way"
POINTS = {
    "before the intent is committed": Point("return", "/retune/state/jobs.py", "intend"),
    "after the intent": Point("call", "/retune/backends/posting.py", "adopt"),
    "after the upload": Point("call", "/retune/backends/openai_jobs.py", "request_of"),
    "before the request": Point("return", "/retune/backends/posting.py", "posting"),
    UNDER_WAY: Point("call", "/retune/backends/openai_refusals.py", "posted", on_word=True),
    "after the answer": Point("call", "/retune/backends/posting.py", "_store"),
    "after the handle is stored": Point("call", "/retune/backends/jobs.py", "look"),
    "worker and task": Point("call", "/retune/backends/posting.py", "_store", whom="both"),
    "worker alone": Point("call", "/retune/backends/openai_refusals.py", "posted", whom="supervisor"),
    "before the model is stored": Point("call", "/retune/backends/jobs.py", "_close", resumed=True),
    "after the model is stored": Point("return", "/retune/backends/jobs.py", "settle", resumed=True),
}
TRIGGERER, STOPPED, SCHEDULER = "triggerer killed", "triggerer restarted", "scheduler killed"
CANCELLED, KEPT = "cleared, spec says cancel", "cleared, spec says keep"
SCENARIOS = (*POINTS, TRIGGERER, STOPPED, SCHEDULER, CANCELLED, KEPT)


@dataclass(frozen=True)
class Outcome:
    """What came of one order."""

    state: str
    """Of the run."""
    tries: int
    created: int
    survivors: int
    bills: int
    killed: bool
    to_next_try_s: float | None
    """From the kill to the start of the next try; None where the same try went on."""
    to_end_s: float
    """From the kill to the end of the run: with what was left of the training."""


def dag_of(name: str) -> str:
    """Return the DAG of a scenario."""
    return name.replace(",", "").replace(" ", "_")


@dataclass
class Drill:
    """An Airflow before an emulator, and when what was killed."""

    house: AirflowHouse
    emulator: Running
    struck: dict[str, float]
    """Scenario -> seconds since 1970."""

    def crash(self, name: str) -> None:
        """Start a scenario's run, whose task dies at its point."""
        file = self.house.dags / "crashes" / f"{dag_of(name)}.json"
        file.write_text(json.dumps(asdict(POINTS[name])))
        self.house.api.trigger(dag_of(name))

    def killed_at(self, name: str) -> float | None:
        """Return when a scenario's task was killed; None before."""
        file = self.house.dags / "crashes" / f"{dag_of(name)}.killed"
        return float(file.read_text() or 0) or None if file.exists() else None

    def strike(self, name: str, act: Callable[[], None]) -> None:
        """Note the time and act."""
        self.struck[name] = time.time()
        act()

    def outcome(self, name: str) -> Outcome:
        """Wait for a scenario's run to end, and say what came of it."""
        run = self.house.ended(dag_of(name))
        tries = self.house.tries(dag_of(name))
        keys = self.house.keys(SCENARIOS.index(name))
        jobs = [job for job in self.emulator.jobs() if job["labels"]["retune_key"] in keys]
        killed = self.killed_at(name) if name in POINTS else self.struck.get(name)
        later = [one.started_at for one in tries if one.started_at and one.started_at > (killed or 0)]
        ended = self.house.ended_at(run)
        return Outcome(
            state=run["state"],
            tries=len(tries),
            created=len(jobs),
            survivors=sum(job["survives"] for job in jobs),
            bills=sum(job["billed"] is not None for job in jobs),
            killed=killed is not None,
            to_next_try_s=round(later[0] - killed, 1) if killed and later and len(tries) > 1 else None,
            to_end_s=round(ended - (killed or ended), 1),
        )


def run_all(folder: Path, tell: Callable[[str], None] = lambda _: None) -> dict[str, Outcome]:
    """Run every scenario in one Airflow, those side by side that do not disturb each other.

    Args:
        folder: An empty one.
        tell: Takes progress lines.
    """
    with running("openai", folder / "emulator", phase_s=SHORT, list_lag_s=LIST_LAG_S) as emulator:
        connection = {"conn_type": "openai", "host": f"{emulator.url}/v1", "password": "sk-crash-drill"}
        house = AirflowHouse(folder, {"AIRFLOW_CONN_OPENAI_EMULATOR": json.dumps(connection)}, SETTLE_S)
        specs = {name: house.freeze("keep" if name == KEPT else "cancel") for name in SCENARIOS}
        orders = [house.order(dag_of(name), seed, specs[name], RECIPE) for seed, name in enumerate(SCENARIOS)]
        drill = Drill(house, emulator, {})
        try:
            house.start(orders)
            tell("Airflow is up")
            _kill_tasks(drill)
            found = {name: drill.outcome(name) for name in POINTS}
            tell("tasks and workers were killed")
            emulator.set_options(phase_s=LONG)
            _clear_and_kill_triggerer(drill)
            found |= {name: drill.outcome(name) for name in (TRIGGERER, CANCELLED, KEPT)}
            tell("tasks were cleared, and the triggerer was killed")
            _kill_scheduler(drill)
            found |= {name: drill.outcome(name) for name in (SCHEDULER, STOPPED)}
        finally:
            house.stop()
        if problems := emulator.problems():
            raise RuntimeError(f"the emulator is at fault: {problems[:3]}")
    return found


def _kill_tasks(drill: Drill) -> None:
    """Kill tasks and workers at their points, where some of the other requests commit late."""
    house, emulator = drill.house, drill.emulator
    emulator.set_faults([{"on": CREATE, "do": "slow", "after_s": SLOW_S}])
    drill.crash(UNDER_WAY)
    house.until("the request", lambda: emulator.counts().get(CREATE))
    (house.dags / "crashes" / f"{dag_of(UNDER_WAY)}.go").touch()
    house.until("the kill during the request", lambda: drill.killed_at(UNDER_WAY))
    late = {"on": CREATE, "do": "late_commit", "after_s": LATE_S, "skip": 1, "times": 4}
    emulator.set_faults([late])
    for name in POINTS:
        if name != UNDER_WAY:
            drill.crash(name)


def _clear_and_kill_triggerer(drill: Drill) -> None:
    """Clear two waiting tasks, and kill the triggerer of a third one."""
    names = (TRIGGERER, CANCELLED, KEPT)
    for name in names:
        drill.house.api.trigger(dag_of(name))
    for name in names:
        drill.house.waits(dag_of(name))
    for name in (CANCELLED, KEPT):
        drill.strike(name, lambda name=name: drill.house.clear(dag_of(name)))  # type: ignore[misc]
    for name in (CANCELLED, KEPT):
        # The triggerer acts upon a clear, so it has to live until then.
        drill.house.until(f"a new try of {name}", lambda name=name: len(drill.house.tries(dag_of(name))) > 1)  # type: ignore[misc]
    drill.strike(TRIGGERER, lambda: drill.house.end_part("triggerer", signal.SIGKILL))
    drill.house.start_part("triggerer")


def _kill_scheduler(drill: Drill) -> None:
    """Kill the scheduler of a waiting task; then stop the triggerer in the ordinary way."""
    house = drill.house
    for name in (SCHEDULER, STOPPED):
        house.api.trigger(dag_of(name))
    for name in (SCHEDULER, STOPPED):
        house.waits(dag_of(name))
    drill.strike(SCHEDULER, lambda: house.end_part("scheduler", signal.SIGKILL))
    house.start_part("scheduler")
    drill.strike(STOPPED, lambda: house.end_part("triggerer", signal.SIGTERM))
    house.start_part("triggerer")


def passed(name: str, outcome: Outcome) -> bool:
    """Say whether an order was one surviving job and one bill, in a run that succeeded after the kill."""
    created = 2 if name == CANCELLED else 1  # the one that was cancelled, and the next try's
    one = (outcome.created, outcome.survivors, outcome.bills) == (created, 1, 1)
    return one and outcome.killed and outcome.state == "success"


def report(found: dict[str, Outcome]) -> dict[str, Any]:
    """Return the results file's content."""
    return {
        "heartbeat_timeouts_s": {
            "task": TASK_HEARTBEAT_TIMEOUT_S,
            "triggerer": TRIGGERER_HEARTBEAT_TIMEOUT_S,
            "airflow_defaults": {"task": 300, "triggerer": 30},
        },
        "settle_s": SETTLE_S,
        "list_lag_s": LIST_LAG_S,
        "retry_delay_s": 1,
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 1),
        "scenarios": {name: asdict(outcome) for name, outcome in found.items()},
    }


def main() -> int:
    """Run all, print a line for each, and return 1 where an order was not one job and one bill."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = run_all(
            Path(folder), lambda line: print(f"{time.monotonic() - began:4.0f} s {line}", flush=True)
        )
    for name, outcome in found.items():
        again = (
            "the same try" if outcome.to_next_try_s is None else f"next try after {outcome.to_next_try_s} s"
        )
        print(
            f"{'ok  ' if passed(name, outcome) else 'FAIL'} must: {name}: {outcome.created} made,"
            f" {outcome.survivors} survives, {outcome.bills} billed; {again},"
            f" run {outcome.state} after {outcome.to_end_s} s"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report(found), indent=2) + "\n")
    return int(not all(passed(name, outcome) for name, outcome in found.items()))


if __name__ == "__main__":
    sys.exit(main())
