"""What do 10,000 waiting jobs cost a triggerer?

    python -m benchmarks.waiting_jobs [--jobs 10000] [--steady 150] [--only jobs|timers|openai|vertex]

- `jobs`: a real `airflow triggerer`, its capacity set for it, with a deferred task for each job at the
  OpenAI emulator; until all their triggers run, then for a while at rest, then until all jobs have ended
  and all tasks are awake.
- `timers`, the peer: the same with as many of Airflow's own `DateTimeTrigger`, which only sleep: what such
  a triggerer costs by itself.
- `openai`, `vertex`: Retune's poller in an event loop of its own, without Airflow, at each emulator.

How late the loop's ticks come says `benchmarks.loop_probe`; what its thread computed meanwhile is said
besides, as that is what a machine without other work would show. Until all run, and while the tasks are
woken, Airflow's supervisor is busy with its database and leaves the loop's log unread, so that a line of
it blocks the loop: that is so with timers too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.beats import read_beats, stalls
from benchmarks.emulator_desk import Desk
from benchmarks.many_jobs import FOR_EVER_S, end_all, waiting
from benchmarks.real_triggerer import in_triggerer
from retune.backends.polling import AccountPoller
from retune.records import Job

RESULTS = Path(__file__).parent / "results" / "waiting_jobs.json"
JOBS, STEADY_S = 10_000, 150.0
PAGE, POLL_EVERY_S = 100, 10.0
LISTS = {
    "openai": "GET /v1/fine_tuning/jobs",
    "vertex": "GET /v1beta1/projects/{project}/locations/{location}/tuningJobs",
}
SINGLE = "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}"
TIMER = "airflow.providers.standard.triggers.temporal.DateTimeTrigger"
OURS = "retune.airflow.triggers.job.JobTrigger"


async def watch(desk: Desk, jobs: list[Job], seconds: float, file: Path) -> dict[str, Any]:
    """Wait for jobs in this loop: some looks at them, then their end."""
    from benchmarks.loop_probe import beat
    from retune.backends.base import load_backend

    backend = await asyncio.to_thread(load_backend, desk.kind, desk.site.installation, jobs[0].place)
    backend.poll_every_s = 2.0
    asked: list[dict[str, int]] = []
    """Requests until the end of each look."""
    poll_many = backend.poll_many  # type: ignore[attr-defined]

    async def counted(jobs: list[Job]) -> Any:
        found = await poll_many(jobs)
        asked.append(await asyncio.to_thread(desk.emulator.counts))
        return found

    backend.poll_many = counted  # type: ignore[attr-defined]
    poller = AccountPoller(backend)
    clock = asyncio.create_task(beat(file, "job-"))
    waits = [asyncio.create_task(poller.wait(job), name=f"job-{job.key}") for job in jobs]
    while len(asked) < 2:
        await asyncio.sleep(0.1)
    first, begun = len(asked) - 1, time.time()
    while time.time() < begun + seconds or len(asked) < first + 2:
        await asyncio.sleep(0.1)
    last, ended = len(asked) - 1, time.time()
    await asyncio.to_thread(end_all, desk.emulator)
    told = time.time()
    views = await asyncio.gather(*waits)
    all_told = time.time() - told
    await asyncio.sleep(1.5)  # for the clock's last line
    clock.cancel()
    assert all(view.ended for view in views)
    return {
        "steady": stalls(read_beats(file, begun, ended)),
        "end": stalls(read_beats(file, ended)),
        "jobs": len(jobs),
        "looks": last - first,
        "requests": {name: found - asked[first].get(name, 0) for name, found in asked[last].items()},
        "seconds_until_all_ends_were_seen": round(all_told, 1),
    }


def library(kind: str, jobs: int, seconds: float) -> dict[str, Any]:
    with waiting(kind, jobs) as (desk, made):
        return asyncio.run(watch(desk, made, seconds, desk.emulator.folder / "beats.jsonl"))


def connected(desk: Desk) -> dict[str, str]:
    extra = {"conn_type": "openai", "host": f"{desk.emulator.url}/v1", "password": "sk-benchmark"}
    return {
        "AIRFLOW_CONN_OPENAI_DEFAULT": json.dumps(extra),
        "RETUNE_PROJECT": str(desk.site.installation.settings.project),
    }


def with_jobs(jobs: int, steady_s: float) -> dict[str, Any]:
    with waiting("openai", jobs) as (desk, made):
        wait = {"until": time.time() + FOR_EVER_S, "cancel_when_cleared": False}
        triggers = [(OURS, {"job": job.to_json(), **wait}) for job in made]
        folder = desk.emulator.folder.parent / "airflow"
        return in_triggerer(triggers, folder, connected(desk), steady_s, desk.emulator)


def with_timers(triggers: int, steady_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        moment = datetime.fromtimestamp(time.time() + FOR_EVER_S, UTC).isoformat()
        timers = [(TIMER, {"target_time": moment})] * triggers
        return in_triggerer(timers, Path(scratch) / "airflow", {}, steady_s)


def measure(jobs: int = JOBS, steady_s: float = STEADY_S) -> dict[str, Any]:
    """Return all figures; about a quarter of an hour for 10,000 jobs."""
    few = max(1, jobs // 5)
    return {
        "jobs": with_jobs(jobs, steady_s),
        "timers": with_timers(jobs, steady_s),
        "openai": library("openai", few, 30.0),
        "vertex": library("vertex", few, 30.0),
    }


Line = tuple[str, str, float, Callable[[float], bool], str]


def lines(results: dict[str, Any]) -> Iterator[Line]:
    """Yield kind, name, figure, whether it will do, and what was wished."""
    ours, timers = results["jobs"], results["timers"]
    jobs = f"{ours['triggers']:,} waiting jobs"
    for phase, name in (("steady", "at rest"), ("start", "until all run"), ("end", "until all are awake")):
        found = ours[phase]
        beside = f"; timers alone: {timers[phase]['longest_stall_ms']}" if phase in timers else ""
        title = f"{jobs}, longest stall {name}, ms (computed: {found['of_it_computed_ms']}{beside})"
        yield "goal", title, found["longest_stall_ms"], at_most(100), "at most 100"
    asked = ours["requests"]
    lists = asked[LISTS["openai"]]
    most = pages_of(ours["triggers"]) * (1 + ours["steady_s"] / (0.8 * POLL_EVERY_S))
    yield "must", f"{jobs}, list calls in {ours['steady_s']:g} s", lists, at_most(most), f"at most {most:.0f}"
    singles = asked.get(SINGLE, 0)
    yield "must", f"{jobs}, asked for one by one", singles, at_most(0), "0"
    for kind in ("openai", "vertex"):
        found = results[kind]
        each = round(found["requests"][LISTS[kind]] / found["looks"], 1)
        wished = pages_of(found["jobs"]) + 1
        title = f"{kind}, list calls a look at {found['jobs']:,} jobs"
        yield "must", title, each, at_most(wished), f"at most {wished}"
        stall = found["steady"]["longest_stall_ms"]
        yield (
            "goal",
            f"{kind}, longest stall of a loop without Airflow, ms",
            stall,
            at_most(100),
            "at most 100",
        )
    yield "must", f"{jobs}, tasks awake without an error", ours["awake"], at_least(ours["triggers"]), "all"
    seconds = ours["seconds_until_all_tasks_are_awake"]
    yield "goal", f"{jobs}, seconds from their end until all tasks are awake", seconds, at_most(300), "300"
    memory, beside = ours["memory_mib"]["all"], timers["memory_mib"]["all"]
    share = round(memory / beside, 2)
    title = f"{jobs}, memory of the triggerer, {memory} MiB, times that of timers alone"
    yield "goal", title, share, at_most(1.5), "at most 1.5"


def pages_of(jobs: int) -> int:
    return -(-jobs // PAGE)


def at_least(least: float) -> Callable[[float], bool]:
    return lambda value: value >= least


def at_most(most: float) -> Callable[[float], bool]:
    return lambda value: value <= most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--steady", type=float, default=STEADY_S)
    parser.add_argument("--only", choices=["jobs", "timers", "openai", "vertex"])
    options = parser.parse_args()
    parts: dict[str, Callable[[int, float], Any]] = {
        "jobs": with_jobs,
        "timers": with_timers,
        "openai": partial(library, "openai"),
        "vertex": partial(library, "vertex"),
    }
    part = parts[options.only] if options.only else measure
    found = part(options.jobs, options.steady)
    print(json.dumps(found, indent=1))
    if options.only:
        return
    for kind, name, figure, will_do, wished in lines(found):
        print(f"{'ok' if will_do(figure) else 'SHORT':7}{kind:5} {name}: {figure:,} (wished: {wished})")


if __name__ == "__main__":
    main()
