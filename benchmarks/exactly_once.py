"""Is one order one job and one bill, whatever is killed?

    python -m benchmarks.exactly_once [--trials 10000] [--seed 1] [--kinds openai vertex]

A trial places one order at an emulator whose list lags, whose answers get lost and whose requests commit
after the connection broke. The process that places it is killed (`kill -9`) at a statement between
the intent and the stored handle; those that follow may be killed again, and the last one follows the job
to its end. Every statement of that code is a crash point: they are counted once without a kill, then chosen
at random (`sweep` takes each once). At the end the emulator says how many jobs each key ever had, how many
survived and how many were billed.

A `must` that fails makes the command fail.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import crash_points  # before anything of Retune
from benchmarks.emulator_desk import SETTLE_S, Desk, make_desk
from retune.backends.base import InDoubtError
from retune.backends.jobs import begin, settle
from retune.backends.patience import patiently
from retune.records import Model
from retune.testing.emulators.process import running

LIST_LAG_S, LATE_S = 0.05, 0.15
CRASH_AGAIN = 0.25
IN_DOUBT = 75
"""Exit code where a service gave no answer at all: the task is to be cleared, and looks again."""
TRIALS = 10_000
RESULTS = Path(__file__).parent / "results" / "exactly_once.json"
"""Kept where no fewer trials ran."""
MOST_TRIES = 6
_TOLD_EVERY = 250
CREATES = {
    "openai": "POST /v1/fine_tuning/jobs",
    "vertex": "POST /v1beta1/projects/{project}/locations/{location}/tuningJobs",
}


def fork(act: Callable[[], None]) -> int:
    """Run in a forked process, and return its exit code, or less than 0 for the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        except InDoubtError:
            code = IN_DOUBT
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def place(desk: Desk, seed: int, crash_at: int) -> None:
    """Place a trial's order, and be killed at a point of it, if there are so many."""
    crash_points.arm(crash_at)
    begin(desk.recipe(seed), desk.dataset, desk.site)


def finish(desk: Desk, seed: int) -> None:
    """Place a trial's order, or adopt its job, and follow it to its model."""
    found = begin(desk.recipe(seed), desk.dataset, desk.site)
    if isinstance(found, Model):
        return
    deadline = time.monotonic() + 60
    while not (view := patiently(lambda: found.backend.poll(found.job), desk.site.report)).ended:
        if time.monotonic() > deadline:
            raise TimeoutError(f"job {found.job.provider_id} does not end")
        time.sleep(0.02)
    settle(found, view, desk.site)


def count_points(desk: Desk, seed: int) -> int:
    """Return how many crash points lie between the intent and the handle of an undisturbed order."""
    crash_points.arm(0)
    begin(desk.recipe(seed), desk.dataset, desk.site)
    points = crash_points.count()
    finish(desk, seed)  # imports all that the forked processes need
    desk.site.db.engine.dispose()
    return points


@dataclass(frozen=True)
class Trial:
    """How often a trial was killed, and how long the last process took to the stored model."""

    kills: int
    seconds: float


_desks: list[Desk] = []
"""The desk of this process and of those that are forked from it."""


def run_trial(seed: int, crashes: Sequence[int]) -> Trial:
    """Kill the processes of one order at these points, then let one finish."""
    [desk] = _desks
    kills = 0
    for at in crashes:
        code = fork(lambda at=at: place(desk, seed, at))  # type: ignore[misc]
        if code not in (0, IN_DOUBT, -signal.SIGKILL):
            raise RuntimeError(f"trial {seed}, killed at point {at}: exit code {code}")
        kills += code < 0
    begun = time.monotonic()
    for _ in range(MOST_TRIES):
        if (code := fork(lambda: finish(desk, seed))) != IN_DOUBT:
            break
    if code != 0:
        raise RuntimeError(f"trial {seed} after {list(crashes)}: exit code {code}")
    return Trial(kills, time.monotonic() - begun)


def fault_rules(kind: str, trials: int, chance: random.Random) -> list[dict[str, Any]]:
    """Return faults for about a third of the requests that create a job."""
    rules = []
    for number in range(trials // 3 + 1):
        do = chance.choice(["lose_answer", "late_commit", "error"])
        rule = {"id": f"{number}", "on": CREATES[kind], "skip": chance.randrange(2 * trials), "do": do}
        rules.append(rule | ({"after_s": LATE_S * chance.random()} if do == "late_commit" else {}))
    return rules


@dataclass(frozen=True)
class Outcome:
    """What came of many trials at one emulator."""

    trials: int
    kills: int
    created: int
    survivors: Mapping[int, int]
    """Surviving jobs of a key -> how many keys have so many."""
    bills: Mapping[int, int]
    """Bills of a key -> how many keys have so many."""
    recovery_s: tuple[float, ...]
    """Of each trial: from the last start of a process to the stored model."""
    lines: int
    """Crash points."""

    @property
    def good(self) -> bool:
        """Whether every order is one surviving job and one bill."""
        return dict(self.survivors) == dict(self.bills) == {1: self.trials}


def run_trials(kind: str, trials: int, seed: int, *, sweep: bool = False, at_once: int = 6) -> Outcome:
    """Run trials at an emulator of their own.

    Args:
        kind: `openai` or `vertex`.
        trials: How many; with `sweep` as many as there are crash points, and at most so many.
        seed: Of the crash points and the faults.
        sweep: Kill once at each crash point instead of at random ones.
        at_once: Trials under way at the same time: they mostly wait.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        options: dict[str, Any] = {"phase_s": 0.03, "list_lag_s": LIST_LAG_S}
        with running(kind, Path(scratch) / "emulator", **options) as emulator:
            desk = make_desk(kind, Path(scratch) / "project", emulator)
            lines = count_points(desk, 0)
            if sweep:
                points = list(range(1, lines + 1))[:trials]
            else:
                points = [chance.randint(1, lines) for _ in range(trials)]
            emulator.set_faults(fault_rules(kind, len(points), chance))
            plans = []
            for point in points:
                crashes = [point]
                while chance.random() < CRASH_AGAIN and len(crashes) < MOST_TRIES:
                    crashes.append(chance.randint(1, lines))
                plans.append(crashes)
            _desks[:] = [desk]
            # Forked by processes without threads of their own.
            with ProcessPoolExecutor(at_once, get_context("fork")) as pool:
                futures = [
                    pool.submit(run_trial, number, crashes) for number, crashes in enumerate(plans, start=1)
                ]
                done = []
                for future in futures:
                    done.append(future.result())
                    if len(done) % _TOLD_EVERY == 0:
                        print(f"{kind}: {len(done)} of {len(futures)} orders", flush=True)
            jobs = emulator.jobs()
            problems = emulator.problems()
    if problems:
        raise RuntimeError(f"the emulator is at fault: {problems[:3]}")
    return _outcome(jobs, done, lines)


def _outcome(jobs: list[dict[str, Any]], done: Sequence[Trial], lines: int) -> Outcome:
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in jobs:
        by_key[job["labels"]["retune_key"]].append(job)
    del by_key[jobs[0]["labels"]["retune_key"]]  # of `count_points`
    survivors = Counter(sum(job["survives"] for job in of_key) for of_key in by_key.values())
    bills = Counter(sum(job["billed"] is not None for job in of_key) for of_key in by_key.values())
    survivors[0] += len(done) - len(by_key)
    return Outcome(
        trials=len(done),
        kills=sum(trial.kills for trial in done),
        created=sum(map(len, by_key.values())),
        survivors=+survivors,
        bills=+bills,
        recovery_s=tuple(trial.seconds for trial in done),
        lines=lines,
    )


def main() -> int:
    """Run the trials of the command line, and return 1 where an order was not one job and one bill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=["openai", "vertex"], choices=["openai", "vertex"])
    arguments = parser.parse_args()
    share = arguments.trials // len(arguments.kinds)
    begun = time.monotonic()
    with ThreadPoolExecutor(len(arguments.kinds)) as pool:
        # Each in a process of its own, as trials fork.
        runs = {kind: pool.submit(run_apart, kind, share, arguments.seed) for kind in arguments.kinds}
        outcomes = {kind: run.result() for kind, run in runs.items()}
    results = {kind: _figures(outcome) for kind, outcome in outcomes.items()}
    for kind, outcome in outcomes.items():
        figures = results[kind]
        print(
            f"{'ok  ' if outcome.good else 'FAIL'} must: {kind}: {outcome.trials} orders,"
            f" {outcome.kills} kills"
            f" at {outcome.lines} crash points, {outcome.created} jobs made; surviving jobs of an order"
            f" {dict(outcome.survivors)}, bills {dict(outcome.bills)}; recovery p50"
            f" {figures['recovery_p50_s']} s, p99 {figures['recovery_p99_s']} s"
            f" (requests may be late by {SETTLE_S} s)"
        )
    took_s = round(time.monotonic() - begun)
    print(f"{took_s} s")
    if arguments.trials >= TRIALS:
        kept = {"trials": arguments.trials, "seed": arguments.seed, "settle_s": SETTLE_S, "took_s": took_s}
        RESULTS.write_text(json.dumps(kept | results, indent=1) + "\n", encoding="utf-8")
    return int(not all(outcome.good for outcome in outcomes.values()))


def _figures(outcome: Outcome) -> dict[str, Any]:
    times = sorted(outcome.recovery_s)
    return {
        "orders": outcome.trials,
        "kills": outcome.kills,
        "crash_points": outcome.lines,
        "jobs_made": outcome.created,
        "surviving_jobs_of_an_order": outcome.survivors,
        "bills_of_an_order": outcome.bills,
        "recovery_p50_s": round(times[len(times) // 2], 2),
        "recovery_p99_s": round(times[int(len(times) * 0.99)], 2),
    }


def run_apart(kind: str, trials: int, seed: int, sweep: bool = False) -> Outcome:
    """Run trials as `run_trials` does, in a process that has imported and started nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(run_trials, kind, trials, seed, sweep=sweep).result()


if __name__ == "__main__":
    sys.exit(main())
