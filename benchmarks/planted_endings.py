"""How planted cases end, and what ordinary models in them know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.planted_stage import HELD_OUT, TRAIN, VALIDATION, Run, rows
from retune.records import Verdict

GOOD, WEAK = 0.97, 0.7
"""Share of the questions that an ordinary candidate, and the base model, is right on."""
JUDGED = rows()[TRAIN + VALIDATION :][:HELD_OUT]


@dataclass(frozen=True)
class Ending:
    """How a case ended."""

    came: str
    wishes: Mapping[str, bool]
    """What should have come -> whether it did."""

    @property
    def unmet(self) -> list[str]:
        """What should have come and did not."""
        return [wish for wish, holds in self.wishes.items() if not holds]


def ends_in(run: Run, verdict: Verdict, *words: str) -> dict[str, bool]:
    """The wish that a run ends in a verdict whose reason has these words."""
    decision = run.decision
    holds = decision.verdict is verdict and all(word in decision.reason for word in words)
    return {f"{verdict.value} that says {' and '.join(map(repr, words))}": holds}


def promoted(run: Run) -> bool:
    return run.decision.verdict is Verdict.PROMOTE
