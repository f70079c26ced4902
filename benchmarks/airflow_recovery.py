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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
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
NEVER_ENDS, ENDS = ({"validating": 0.2, "queued": 0.2, "running": seconds} for seconds in (1e6, 0.2))
RECIPE = OpenAIRecipe(backend="openai", base_model="gpt-4.1-mini-2025-04-14", connection="openai_emulator")


@dataclass(frozen=True)
class Point:
    """Where a task is killed; see `tests/faults/crash_dags.py`."""

    function: str
    after: bool = False
    whom: str = "task"
    resumed: bool = False
    on_word: bool = False


_OPERATOR, _JOBS, _POSTING, _OPENAI = (
    "retune.airflow.operators.fine_tune",
    "retune.backends.jobs",
    "retune.backends.posting",
    "retune.backends.openai_jobs",
)
UNDER_WAY = "while the request is under way"
BROKEN = "when the request breaks off and commits later"
POINTS = {
    "before the intent is committed": Point("retune.state.jobs:intend", after=True),
    "after the intent": Point(f"{_POSTING}:_adopt"),
    "after the upload": Point(f"{_OPENAI}:request_of"),
    "before the request": Point(f"{_OPENAI}:posted"),
    UNDER_WAY: Point(f"{_OPENAI}:posted", on_word=True),
    BROKEN: Point("retune.backends.openai_refusals:problem_of"),
    "after the answer": Point(f"{_POSTING}:_store"),
    "after the handle is stored": Point(f"{_OPERATOR}:look"),
    "worker and task": Point(f"{_POSTING}:_store", whom="both"),
    "worker alone": Point(f"{_OPENAI}:posted", whom="supervisor"),
    "before the model is stored": Point(f"{_JOBS}:close", resumed=True),
    "after the model is stored": Point(f"{_OPERATOR}:settle", after=True, resumed=True),
}
RESUMED = [name for name, point in POINTS.items() if point.resumed]
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
    to_recovery_s: float | None
    """From the kill until the job is waited for again, or the run has ended where its job had."""


def dag_of(name: str) -> str:
    """Return the DAG of a scenario."""
    return name.replace(",", "").replace(" ", "_")


@dataclass
class Drill:
    """An Airflow before an emulator, and what was killed and came back when, in seconds since 1970."""

    house: AirflowHouse
    emulator: Running
    tell: Callable[[str], None]
    struck: dict[str, float] = field(default_factory=dict)
    back: dict[str, float] = field(default_factory=dict)

    def begin(self, *names: str) -> None:
        """Start scenarios' runs; tasks with a crash point die there."""
        for name in names:
            if name in POINTS:
                file = self.house.dags / "crashes" / f"{dag_of(name)}.json"
                file.write_text(json.dumps(asdict(POINTS[name])))
            self.house.begin(dag_of(name))

    def strike(self, name: str, act: Callable[[], None]) -> None:
        """Note the time and act."""
        self.struck[name] = time.time()
        act()

    def see_struck(self, name: str) -> bool:
        """Say whether a scenario's task was killed at its point, and note when."""
        file = self.house.dags / "crashes" / f"{dag_of(name)}.killed"
        if name not in self.struck and file.exists():
            self.struck[name] = float(file.read_text())
        return name in self.struck

    def wait_for(self, names: Iterable[str], what: str, back: Callable[[str], bool]) -> None:
        """Wait until all have come back, noting when each does."""
        open_ = set(names)

        def all_back() -> bool:
            for name in sorted(open_):
                if back(name):
                    self.back[name] = time.time()
                    open_.discard(name)
            return not open_

        self.house.until(what, all_back)
        self.tell(what)

    def waits_again(self, name: str) -> bool:
        """Say whether a scenario's task was killed and its job is waited for again."""
        return self.see_struck(name) and self.house.waits(dag_of(name))

    def ended(self, name: str) -> bool:
        """Say whether a scenario's run has ended."""
        return self.house.run(dag_of(name))["state"] in ("success", "failed")

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return all jobs that the emulator ever made of a scenario's order."""
        keys = self.house.keys(SCENARIOS.index(name))
        return [job for job in self.emulator.jobs() if job["labels"]["retune_key"] in keys]

    def outcome(self, name: str) -> Outcome:
        """Say what came of a scenario whose run has ended."""
        tries = self.house.tries(dag_of(name))
        self.see_struck(name)
        jobs = self.jobs(name)
        struck = self.struck.get(name)
        later = [one.started_at for one in tries[1:] if one.started_at]
        return Outcome(
            state=self.house.run(dag_of(name))["state"],
            tries=len(tries),
            created=len(jobs),
            survivors=sum(job["survives"] for job in jobs),
            bills=sum(job["billed"] is not None for job in jobs),
            killed=struck is not None,
            to_next_try_s=round(later[0] - struck, 1) if struck and later else None,
            to_recovery_s=round(self.back[name] - struck, 1) if struck and name in self.back else None,
        )


def run_all(folder: Path, tell: Callable[[str], None] = lambda _: None) -> dict[str, Outcome]:
    """Run every scenario in one Airflow, those side by side that do not disturb each other.

    Args:
        folder: An empty one.
        tell: Takes progress lines.
    """
    with running("openai", folder / "emulator", phase_s=NEVER_ENDS, list_lag_s=LIST_LAG_S) as emulator:
        connection = {"conn_type": "openai", "host": f"{emulator.url}/v1", "password": "sk-crash-drill"}
        variables = {
            "AIRFLOW_CONN_OPENAI_EMULATOR": json.dumps(connection),
            # Nothing listens where MLflow would be, and no task is to wait for it.
            "RETUNE_MLFLOW_URI": "http://127.0.0.1:1",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        house = AirflowHouse(folder, variables, SETTLE_S)
        drill = Drill(house, emulator, tell)
        try:
            house.start(
                [
                    house.order(
                        dag_of(name), seed, house.freeze("keep" if name == KEPT else "cancel"), RECIPE
                    )
                    for seed, name in enumerate(SCENARIOS)
                ]
            )
            tell("Airflow is up")
            _kill_tasks(drill)
            _clear_tasks(drill)
            _kill_parts(drill)
            found = {name: drill.outcome(name) for name in SCENARIOS}
        finally:
            house.stop()
        if problems := emulator.problems():
            raise RuntimeError(f"the emulator is at fault: {problems[:3]}")
    return found


def _kill_tasks(drill: Drill) -> None:
    """Kill tasks and workers at their points, where some of the other requests commit late."""
    house, emulator = drill.house, drill.emulator
    emulator.set_faults([{"on": CREATE, "do": "slow", "after_s": SLOW_S}])
    drill.begin(UNDER_WAY)
    house.until("the request", lambda: emulator.counts().get(CREATE))
    (house.dags / "crashes" / f"{dag_of(UNDER_WAY)}.go").touch()
    house.until("the kill during the request", lambda: drill.see_struck(UNDER_WAY))
    late = {"on": CREATE, "do": "late_commit", "after_s": LATE_S}
    emulator.set_faults([late])
    drill.begin(BROKEN)
    house.until("the kill after the request", lambda: drill.see_struck(BROKEN))
    emulator.set_faults([late | {"skip": 1, "times": 4}])
    rest = [name for name in POINTS if name not in (UNDER_WAY, BROKEN)]
    open_ = {UNDER_WAY, BROKEN}
    for some in (rest[0::2], rest[1::2]):  # a few at once: all together they would measure a busy machine
        drill.begin(*some)
        open_ |= set(some) - set(RESUMED)
        drill.wait_for(open_, f"killed and back: {', '.join(sorted(open_))}", drill.waits_again)
        open_ = set()
    house.until("the tasks' triggers", lambda: all(house.waits(dag_of(name)) for name in RESUMED))
    emulator.set_options(phase_s=ENDS)
    drill.wait_for(RESUMED, "tasks were killed that had waited, and are done", drill.ended)
    house.until("the ends", lambda: all(drill.ended(name) for name in POINTS))
    emulator.set_options(phase_s=NEVER_ENDS)


def _clear_tasks(drill: Drill) -> None:
    """Clear two waiting tasks, and let the others start meanwhile."""
    house = drill.house
    drill.begin(CANCELLED, KEPT, TRIGGERER, STOPPED, SCHEDULER)
    house.until("triggers", lambda: all(house.waits(dag_of(name)) for name in SCENARIOS[len(POINTS) :]))
    cleared = (CANCELLED, KEPT)
    house.until("the triggers' starts", lambda: all(house.is_watched(dag_of(name)) for name in cleared))
    for name in cleared:
        drill.strike(name, lambda name=name: house.clear(dag_of(name)))  # type: ignore[misc]

    def waits_again(name: str) -> bool:
        if name == CANCELLED and len(drill.jobs(name)) < 2:
            return False  # a try that has adopted the job before it was cancelled
        return len(house.tries(dag_of(name))) > 1 and house.waits(dag_of(name))

    drill.wait_for(cleared, "tasks were cleared, and wait again", waits_again)


def _kill_parts(drill: Drill) -> None:
    """Stop the triggerer in the ordinary way, kill the next one, then the scheduler; all jobs go on."""
    house = drill.house
    for name, by in ((STOPPED, signal.SIGTERM), (TRIGGERER, signal.SIGKILL)):
        before = house.triggerer(dag_of(name))
        drill.strike(name, lambda by=by: house.end_part("triggerer", by))  # type: ignore[misc]
        house.start_part("triggerer")
        drill.wait_for(
            [name],
            f"{name}, and back",
            lambda name=name, before=before: house.triggerer(dag_of(name)) not in (None, before),  # type: ignore[misc]
        )
    drill.strike(SCHEDULER, lambda: house.end_part("scheduler", signal.SIGKILL))
    drill.emulator.set_options(phase_s=ENDS)
    house.start_part("scheduler")
    drill.wait_for([SCHEDULER], "scheduler killed, and the run is done", drill.ended)
    house.until("the ends", lambda: all(drill.ended(name) for name in SCENARIOS))


def passed(name: str, outcome: Outcome) -> bool:
    """Say whether an order was one surviving job and one bill, in a run that succeeded after the kill."""
    # Of a cleared task's job a part was trained, and paid, before it was cancelled for the next try's.
    made = 2 if name == CANCELLED else 1
    one = (outcome.created, outcome.survivors, outcome.bills) == (made, 1, made)
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
            Path(folder), lambda line: print(f"{time.monotonic() - began:4.0f} s", line, flush=True)
        )
    for name, outcome in found.items():
        tried = "" if outcome.to_next_try_s is None else f"next try after {outcome.to_next_try_s} s, "
        print(
            f"{'ok  ' if passed(name, outcome) else 'FAIL'} must: {name}: jobs made {outcome.created},"
            f" surviving {outcome.survivors}, billed {outcome.bills}; run {outcome.state}; {tried}"
            f"back after {outcome.to_recovery_s} s"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report(found), indent=2) + "\n")
    return int(not all(passed(name, outcome) for name, outcome in found.items()))


if __name__ == "__main__":
    sys.exit(main())
