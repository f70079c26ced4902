"""One order is one job and one bill, whatever is killed between its intent and its stored handle."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 200


def test_orders_whose_processes_are_killed_at_random_statements_are_one_job_and_one_bill() -> None:
    command = [sys.executable, "-m", "benchmarks.exactly_once", "--trials", str(TRIALS), "--seed", "20261126"]
    # In a process of its own: it counts the statements of modules before they are imported.
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    found = re.findall(r"^ok   must: (\w+): (\d+) orders, (\d+) kills", done.stdout, re.MULTILINE)
    assert [(kind, int(orders)) for kind, orders, _ in found] == [("openai", 100), ("vertex", 100)]
    assert all(int(kills) > TRIALS / 4 for _, _, kills in found)
