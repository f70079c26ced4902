"""How many jobs can wait, and how fast does the local trainer train?

    python -m benchmarks.backends [--jobs 10000] [--steady 150] [--runs 3] [--epochs 3]

- `waiting_jobs`: what waiting jobs cost a triggerer, see `benchmarks.waiting_jobs`.
- `training_speed`: the local trainer beside stock TRL, see `benchmarks.training_speed`.

A `must` that fails makes the command fail; a `goal` that is missed is printed as SHORT.
"""

from __future__ import annotations

import argparse
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks import training_speed, waiting_jobs
from benchmarks.figures import tell

RESULTS = Path(__file__).parent / "results" / "backends.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=waiting_jobs.JOBS)
    parser.add_argument("--steady", type=float, default=waiting_jobs.STEADY_S)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, Any] = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{psutil.cpu_count()} cores, Python {platform.python_version()}",
        "waiting_jobs": waiting_jobs.measure(options.jobs, options.steady),
        "training_speed": training_speed.measure(options.runs, options.epochs),
    }
    lines = [*waiting_jobs.lines(results["waiting_jobs"]), *training_speed.lines(results["training_speed"])]
    tell(results, lines, RESULTS)


if __name__ == "__main__":
    main()
