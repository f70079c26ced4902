"""A real `airflow triggerer` of its own, with as many triggers as one likes, and what it costs."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.beats import read_beats, stalls
from benchmarks.deferred_tasks import DAG_FILE, DAG_ID
from benchmarks.many_jobs import end_all
from retune.serving.processes import end_group, free_ports
from retune.testing.emulators.process import Running

ROOT = Path(__file__).resolve().parents[1]
SETTLE_S, WITHIN_S = 30.0, 1200.0
# The event that a trigger without an error has left with its task.
AWAKE = """state = 'scheduled' AND next_method = 'waited' AND next_kwargs LIKE '%"error": ""%'"""
PROBE = "benchmarks.loop_probe.LoopProbe"


@dataclass(frozen=True)
class House:
    """An Airflow of its own: a metadata database, and the environment that names it."""

    folder: Path
    environment: dict[str, str]

    @property
    def beats(self) -> Path:
        return self.folder / "beats.jsonl"

    def run(self, *command: str) -> None:
        with (self.folder / "setup.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", *command], env=self.environment, stdout=log, stderr=log, check=True
            )

    def tasks(self, which: str) -> int:
        """Return how many tasks are as a condition of SQL says."""
        with closing(sqlite3.connect(self.folder / "airflow.db", timeout=60)) as db:
            [[found]] = db.execute(f"SELECT count(*) FROM task_instance WHERE {which}").fetchall()
        return int(found)


def make_house(folder: Path, capacity: int, more: dict[str, str]) -> House:
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "waiting.py").write_text(DAG_FILE)
    port = free_ports("127.0.0.1", {"trigger": 0})["trigger"]
    options = {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(folder / "dags"),
        "CORE__PLUGINS_FOLDER": str(folder / "no-plugins"),
        "CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}?timeout=60",
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(port),
        "TRIGGERER__CAPACITY": str(capacity),
        # The default of 50 takes twice as long to the start, and changes nothing after it.
        "TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "100",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "RETUNE_"))}
    variables = {f"AIRFLOW__{name}": value for name, value in options.items()}
    place = {"AIRFLOW_HOME": str(folder), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1,localhost"}
    return House(folder, kept | variables | place | more)


def in_triggerer(
    triggers: list[tuple[str, dict[str, Any]]],
    folder: Path,
    more: dict[str, str],
    steady_s: float,
    emulator: Running | None = None,
) -> dict[str, Any]:
    """Run triggers in a real triggerer.

    Args:
        triggers: Class and arguments of each.
        folder: An empty one, for Airflow's files.
        more: Variables of the triggerer, such as connections.
        steady_s: How long it is watched once all run.
        emulator: Where the jobs are that they wait for; they all end after that time.
    """
    house = make_house(folder, len(triggers) + 1, more)
    house.run("airflow", "db", "migrate")
    house.run("airflow", "dags", "reserialize")
    probe = (PROBE, {"file": str(house.beats), "name": f"{DAG_ID}/"})
    lines = [json.dumps(one) for one in (probe, *triggers)]
    (folder / "triggers.jsonl").write_text("\n".join(lines))
    house.run("benchmarks.deferred_tasks", str(folder / "triggers.jsonl"))
    with (folder / "triggerer.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
            env=house.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        return observed(house, child, len(triggers), steady_s, emulator)
    except BaseException:
        print((folder / "triggerer.log").read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        end_group(child.pid, child)


def observed(
    house: House, child: subprocess.Popen[bytes], triggers: int, steady_s: float, emulator: Running | None
) -> dict[str, Any]:
    begun = time.time()
    until(child, lambda: running_now(house) > triggers)
    all_run = time.time()
    time.sleep(SETTLE_S)
    before, rested = emulator.counts() if emulator else {}, time.time()
    time.sleep(steady_s)
    after, steady_until = emulator.counts() if emulator else {}, time.time()
    found: dict[str, Any] = {
        "triggers": triggers,
        "steady_s": steady_s,
        "seconds_until_all_run": round(all_run - begun, 1),
        "start": stalls(read_beats(house.beats, 0.0, all_run)),
        "steady": stalls(read_beats(house.beats, rested, steady_until)),
        "memory_mib": memory_of(child.pid),
    }
    if emulator is None:
        return found
    found["requests"] = {name: after[name] - before.get(name, 0) for name in after}
    found["requests_since_start"] = after
    end_all(emulator)
    ended = time.time()
    until(child, lambda: house.tasks("state = 'deferred'") == 1)
    awake = time.time()
    seen = next((one["at"] for one in read_beats(house.beats, ended) if one["tasks"] == 1), awake)
    return found | {
        "awake": house.tasks(AWAKE),
        "seconds_until_all_ends_were_seen": round(seen - ended, 1),
        "seconds_until_all_tasks_are_awake": round(awake - ended, 1),
        "end": stalls(read_beats(house.beats, ended, awake)),
    }


def running_now(house: House) -> int:
    counts = [beat["tasks"] for beat in read_beats(house.beats) if beat["tasks"] is not None]
    return counts[-1] if counts else 0


def until(child: subprocess.Popen[bytes], true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        if child.poll() is not None:
            raise RuntimeError(f"the triggerer ended with {child.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {WITHIN_S:g} s")
        time.sleep(0.5)


def memory_of(pid: int) -> dict[str, int]:
    """Return the MiB of a triggerer's two processes: what they share counts half for each."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    sizes = [round(process.memory_full_info().pss / 2**20) for process in family]
    return {"all": sum(sizes), "loop": sizes[-1]}
