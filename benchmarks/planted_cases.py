"""Does the gate say the right thing of runs in which something is wrong, and is planted?

    python -m benchmarks.planted_cases

Each case is a run of the evaluation: real calls to a server whose models answer by a function, real
artifacts, the real gate. `first_release` is promoted; every other one differs from it by the fault that is
planted, or has a run without it beside, so that nothing else can be why it ends as it does. A case that
ends otherwise than it should makes the command fail.
"""

from __future__ import annotations

import platform
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks import planted_evidence as evidence
from benchmarks import planted_models as models
from benchmarks.figures import Line, tell
from benchmarks.planted_endings import Ending
from benchmarks.planted_stage import Stage, staged

RESULTS = Path(__file__).parent / "results" / "planted_cases.json"


@dataclass(frozen=True)
class Case:
    """A run with a fault."""

    name: str
    expected: str
    play: Callable[[Stage], Ending]

    def played(self) -> Ending:
        """Play it on a stage of its own."""
        with staged() as stage:
            return self.play(stage)


CASES = (
    Case("the champion absent (first release)", "PROMOTE", models.first_release),
    Case("a tuned model that only memorised", "never PROMOTE, and the diagnosis names it", models.memorised),
    Case("better on average, worse on one slice", "REJECT that names the slice", models.broken_slice),
    Case("leaked held-out rows", "INCONCLUSIVE that says so", evidence.leaked),
    Case("a judge fooled by ':'", "its votes do not count, and REJECT", evidence.fooled_judge),
    Case("a metric missing", "INCONCLUSIVE that says so", evidence.metric_missing),
    Case("NaN", "INCONCLUSIVE that says so", evidence.not_a_number),
    Case("equal models", "not PROMOTE", models.equal_models),
    Case("30 examples only", "INCONCLUSIVE that says how many it takes", models.few_examples),
    Case("a template mismatch", "an error that names the template and the token", evidence.template_mismatch),
    Case("a prompt that is enough", "not PROMOTE, and the advice is to ship it", models.prompt_is_enough),
    Case("a held-out set used too often", "INCONCLUSIVE that asks for fresh rows", evidence.worn_out),
)


def report_on(cases: Sequence[Case], file: Path) -> None:
    """Play cases and tell how each ended; exit with 1 where one ended otherwise than it should."""
    begun, found, lines = time.monotonic(), {}, list[Line]()
    for case in cases:
        start = time.monotonic()
        try:
            ending = case.played()
        except Exception as error:  # one that breaks down must not hide how the others end
            ending = Ending(f"{type(error).__name__}: {error}", {"an ending": False})
        found[case.name] = {
            "expected": case.expected,
            "came": ending.came,
            "wishes": list(ending.wishes),
            "unmet": ending.unmet,
            "seconds": round(time.monotonic() - start, 1),
        }
        came = textwrap.shorten(ending.came, 120, placeholder=" ...")
        told = f"{case.expected}; came: {came}" + "".join(f"; not so: {wish}" for wish in ending.unmet)
        lines.append(("must", f"{case.name}, unmet", len(ending.unmet), lambda unmet: unmet == 0, told))
    results = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{psutil.cpu_count()} cores, Python {platform.python_version()}",
        "cases": found,
        "seconds": round(time.monotonic() - begun, 1),
    }
    tell(results, lines, file)


if __name__ == "__main__":
    report_on(CASES, RESULTS)
