"""Does the evaluation tell the truth, and how fast does it ask?

    python -m benchmarks.evaluation [--only NAME ...] [--quick]

- `planted_cases`: runs in which something is wrong, see `benchmarks.planted_cases`.
- `gate_simulation`: false promotions and what a decision costs, see `benchmarks.gate_simulation`.
- `interval_coverage`: whether intervals cover as often as they say, see `benchmarks.interval_coverage`.
- `evaluation_client`: speed beside peers and against a real vLLM, see `benchmarks.evaluation_client`.

Each part has a results file of its own. Figures go to the output, a line each; all else that parts say goes
to the error output. All parts run; where a `must` of one failed, or one broke down, the command fails.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS: dict[str, Sequence[str]] = {
    "planted_cases": (),
    "gate_simulation": (),
    "interval_coverage": (),
    "evaluation_client": ("--vllm",),
}
QUICK: dict[str, Sequence[str]] = {"planted_cases": (), "evaluation_client": ("--quick", "--no-peers")}
FIGURE = re.compile(r"(ok|FAILED|SHORT) +(must|goal) ")


def run_all(commands: Mapping[str, Sequence[str]]) -> None:
    """Run every command (name -> arguments of the interpreter), then exit with 1 where one failed."""
    failed = [name for name, command in commands.items() if not succeeded(name, command)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def succeeded(name: str, command: Sequence[str]) -> bool:
    """Run one command, and pass on what it says as it comes."""
    print(f"{name}:", flush=True)
    with subprocess.Popen(
        [sys.executable, "-u", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True, file=sys.stdout if FIGURE.match(line) else sys.stderr)
    return process.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="little, to see that it works; no simulation")
    options = parser.parse_args()
    parts = QUICK if options.quick else PARTS
    wanted = options.only or parts
    if missing := set(wanted) - set(parts):
        parser.error(f"nothing quick is there of {', '.join(sorted(missing))}")
    run_all({name: ("-m", f"benchmarks.{name}", *parts[name]) for name in wanted})


if __name__ == "__main__":
    main()
