"""How fast, how lean and how sure is the data stage?

    python -m benchmarks.data [--rows 100000 1000000] [--whole 1000000] [--personal 40000]

- `intake`: what `prepare` does until exact duplicates are gone (read, schema, ten rules, duplicates), on
  chat rows of 1.34 kB, beside a plain script with `json` and Great Expectations' stock rules. Both must
  come to the same verdicts.
- `near_duplicates` beside datasketch, and `leaks` on BANKING77: see `benchmarks.near_duplicates`.
- `personal_data`: see `benchmarks.personal_data`.
- `whole`: all of `prepare()`, privacy included, in a process of its own whose memory is watched.

A `must` that fails makes the command fail; a `goal` that is missed is printed as SHORT.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks import chat_rows, near_duplicates, personal_data
from benchmarks.figures import tell
from benchmarks.plain_script import judge_with_plain_script
from retune.artifacts import Artifacts
from retune.data.cleaning import drop_duplicates
from retune.data.collect import collect
from retune.data.drops import Drops
from retune.data.intake import Plan
from retune.data.judging import judge
from retune.data.prepare import prepare
from retune.data.selection import EXAMPLE
from retune.data.sources import find_sources
from retune.data.spool import Spool
from retune.data.suites import needs, suite_for
from retune.settings import EnvironmentFileSystems, Settings
from retune.spec import PipelineSpec
from retune.state.database import Database

RESULTS = Path(__file__).parent / "results" / "data.json"
MAX_TOKENS = 1024
SUITE = {
    "expectations": [
        {"type": "expect_conversations_to_be_well_formed", "kwargs": {}},
        {"type": "expect_roles_to_be_in_order", "kwargs": {}},
        {"type": "expect_conversations_to_end_with_assistant", "kwargs": {}},
        {"type": "expect_prompts_to_not_be_empty", "kwargs": {}},
        {"type": "expect_completions_to_not_be_empty", "kwargs": {"mostly": 0.9}},
        {"type": "expect_tokens_to_fit", "kwargs": {"max_tokens": MAX_TOKENS}},
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "retune_turns", "min_value": 2, "max_value": 50},
        },
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "retune_prompt_chars", "min_value": 1, "max_value": 100_000},
        },
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "retune_completion_chars", "max_value": 100_000},
        },
    ]
}
"""Nine rules; that there are rows at all is the tenth, which is always checked."""


def project(folder: Path, rows: int) -> tuple[PipelineSpec, Settings]:
    """Write a project with a file of chat rows."""
    folder.mkdir(exist_ok=True)
    chat_rows.write(folder / "rows.jsonl", rows)
    (folder / "suite.json").write_text(json.dumps(SUITE))
    return spec_of("allow"), settings_of(folder)


def spec_of(privacy: str) -> PipelineSpec:
    return PipelineSpec.model_validate(
        {
            "version": 1,
            "pipeline": "chat",
            "data": {
                "sources": ["rows.jsonl"],
                "format": "chat",
                "expectations": "suite.json",
                "privacy": privacy,
            },
            "task": {"kind": "generation"},
            "recipes": [{"base_model": "base", "max_length": MAX_TOKENS}],
            "evaluation": {"endpoint": "e"},
            "deploy": {"endpoint": "e", "alias": "chat"},
        }
    )


def settings_of(folder: Path) -> Settings:
    return Settings.load({"project": str(folder), "home": str(folder / "home")}.get)


def intake(spec: PipelineSpec, settings: Settings) -> tuple[dict[str, int], float]:
    """Return the verdicts (rule -> rows that break it, and duplicates) and the seconds."""
    with tempfile.TemporaryDirectory(dir=settings.project) as folder:
        start = time.perf_counter()
        suite = suite_for(spec, settings.resolve(spec.data.expectations))
        plan = Plan(spec, Path(folder), tuple(needs(suite).columns))
        sources = find_sources(spec.data.sources, settings, EnvironmentFileSystems())
        collected = collect(sources, plan, lambda line: None)
        spool = Spool(Path(folder))
        verdict = judge(collected, suite, spec, spool, settings.project)
        drops = Drops()
        good = collected.rows.filter(collected.rows["flaw"].is_null() & collected.rows["reason"].is_null())
        drop_duplicates(good.select(EXAMPLE), drops)
        seconds = time.perf_counter() - start
        spool.close()
    assert not verdict.failures, verdict.failures
    rows = collected.rows
    counts = {
        "rows": rows.height,
        "empty": int((rows["reason"] == "empty").sum()),
        "out of order": int((~rows["roles_in_order"]).sum()),
        "duplicates": drops.counts["duplicate"],
    }
    return counts, seconds


def measure_intake(rows: int, folder: Path) -> dict[str, Any]:
    """Ours (the best of three up to 100,000 rows) and, up to these, the plain script's."""
    spec, settings = project(folder, rows)
    small = rows <= 100_000
    runs = [intake(spec, settings) for _ in range(3 if small else 1)]
    seconds = min(seconds for _, seconds in runs)
    found: dict[str, Any] = {"rows": rows, "rows_per_second": round(rows / seconds), "verdicts": runs[0][0]}
    if small:
        peers = [judge_with_plain_script(folder / "rows.jsonl", MAX_TOKENS) for _ in range(2)]
        verdicts, theirs = min(peers, key=lambda run: run[1])
        found["plain_script_rows_per_second"] = round(rows / theirs)
        found["times_plain_script"] = round(theirs / seconds, 2)
        found["same_verdicts"] = verdicts == runs[0][0]
    return found


def measure_whole(rows: int, folder: Path) -> dict[str, Any]:
    """All of `prepare()` in a process of its own; memory is that of its whole family."""
    project(folder, rows)
    command = [sys.executable, "-m", "benchmarks.data", "--only-prepare", str(folder)]
    start, most, last = time.perf_counter(), 0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        family = psutil.Process(process.pid)
        while process.poll() is None:
            most = max(most, memory_of(family))
            time.sleep(0.1)
        assert process.stdout is not None
        said = process.stdout.read().splitlines()
    last = time.perf_counter() - start
    assert process.returncode == 0, said
    return {
        "rows": rows,
        "rows_per_second": round(rows / last),
        "seconds": round(last, 1),
        "peak_gib": round(most / 2**30, 2),
        "said": said[-1],
    }


def memory_of(family: psutil.Process) -> int:
    """Bytes that a process and its children hold; what they share counts once.

    Pages of mapped files do not count: the system takes them back whenever it needs them.
    """
    total = 0
    for process in [family, *family.children(recursive=True)]:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))
    return total * 1024


def only_prepare(folder: Path) -> None:
    settings = settings_of(folder)
    db = Database(settings.state_url)
    settings.home.mkdir(exist_ok=True)
    db.migrate()
    prepare(
        spec_of("redact"),
        settings=settings,
        db=db,
        artifacts=Artifacts(settings.artifacts_url),
        now=datetime.now(UTC),
    )


Line = tuple[str, str, float, Callable[[float], bool], str]


def lines(results: dict[str, Any]) -> Iterator[Line]:
    """Yield kind, name, figure, whether it will do, and what was wished."""
    for found in results["intake"]:
        rows = f"{found['rows']:,} rows"
        yield "goal", f"intake, rows/s on {rows}", found["rows_per_second"], lambda v: v >= 4e5, "400,000"
        if "times_plain_script" in found:
            yield "goal", f"intake, times json + GX, {rows}", found["times_plain_script"], at_least(5), "5"
            yield "must", "same verdicts as json + GX", found["same_verdicts"], at_least(1), "yes"
    near = results["near_duplicates"]
    times = near["rows_per_second"] / near["datasketch_rows_per_second"]
    yield "goal", "near-duplicates, rows/s", near["rows_per_second"], at_least(1e5), "100,000"
    yield "goal", "near-duplicates, times datasketch", round(times, 1), at_least(25), "25"
    share = near["share_of_datasketch_pairs"]
    yield "goal", "of datasketch's pairs found", share, at_least(0.95), "0.95"
    if "leaks" in results:
        leaks = results["leaks"]
        caught, alarms = leaks["caught_exact_and_edited"], leaks["false_alarms_exact_jaccard_below"]
        yield "must", "planted leaks caught, exact and edited", caught, at_least(0.99), "0.99"
        yield "must", "false alarms", alarms, at_most(0.005), "at most 0.005"
    personal = results["personal_data"]
    for kind, share in personal["recall"].items():
        yield "must", f"personal data found: {kind}", share, at_least(0.99), "0.99"
    for text, speed in personal["speed"].items():
        figure = speed["rows_per_second"] * (psutil.cpu_count() or 1)
        yield "goal", f"personal data, rows/s on all cores, {text}", figure, at_least(5e4), "50,000"
    whole = results["whole"]
    yield "must", f"GiB for {whole['rows']:,} rows", whole["peak_gib"], at_most(2), "at most 2"


def at_least(least: float) -> Callable[[float], bool]:
    return lambda value: value >= least


def at_most(most: float) -> Callable[[float], bool]:
    return lambda value: value <= most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--whole", type=int, default=1_000_000)
    parser.add_argument("--personal", type=int, default=40_000)
    parser.add_argument("--only-prepare", type=Path)
    options = parser.parse_args()
    if options.only_prepare:
        only_prepare(options.only_prepare)
        return
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = {
            "at": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{psutil.cpu_count()} cores, Python {platform.python_version()}",
            "intake": [measure_intake(rows, Path(folder) / "intake") for rows in options.rows],
            "near_duplicates": near_duplicates.measure(near_duplicates.chat_rows(100_000)),
            "personal_data": personal_data.measure(options.personal),
            "whole": measure_whole(options.whole, Path(folder) / "whole"),
        }
    if near_duplicates.BANKING.is_dir():
        results["leaks"] = near_duplicates.leaks()
    print(json.dumps(results, indent=1))
    tell(results, lines(results), RESULTS)


if __name__ == "__main__":
    main()
