"""How a virtual job moves on: by the clock, worked out when somebody looks.

No thread moves a job, so a kill of the emulator changes nothing: the next look finds it where it would
have been. A job never goes back, also where the options change under it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self


class Phase(StrEnum):
    """Where a job is; each emulator has its provider's own names for them."""

    VALIDATING = "validating"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether it is the last."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


_NEXT = {
    Phase.VALIDATING: Phase.QUEUED,
    Phase.QUEUED: Phase.RUNNING,
    Phase.RUNNING: Phase.SUCCEEDED,
}


@dataclass
class Life:
    """The life of one job; goes into its stored body by `as_json`."""

    entered: dict[str, float]
    """Phase -> when the job came there, seconds since 1970."""
    phase: Phase = Phase.VALIDATING
    fails_in: str = ""
    """The phase that it ends in badly, after all its time there; empty where it is to succeed."""
    error: dict[str, Any] = field(default_factory=dict)
    """Why it fails, in the provider's shape."""
    paused_at: float | None = None
    trained: float | None = None
    """Share of the training that is over, 0 to 1, where it really trains."""

    @classmethod
    def begin(cls, at: float, fails_in: str = "", error: dict[str, Any] | None = None) -> Self:
        """Begin the life of a job that is created at a time."""
        return cls({Phase.VALIDATING.value: at}, fails_in=fails_in, error=error or {})

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read it back."""
        return cls(**{**data, "phase": Phase(data["phase"])})

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @property
    def since(self) -> float:
        """When the job came into its phase, seconds since 1970."""
        return self.entered[self.phase]

    def advance(self, now: float, seconds: Callable[[str], float]) -> list[Phase]:
        """Move on to where the job is now.

        Args:
            now: Seconds since 1970.
            seconds: Phase -> how long a job stays there.

        Returns:
            The phases that it came into, in order; `entered` says when.
        """
        came: list[Phase] = []
        while not self.phase.ended and self.paused_at is None:
            at = self.since + seconds(self.phase)
            if now < at:
                break
            self.move(Phase.FAILED if self.fails_in == self.phase else _NEXT[self.phase], at)
            came.append(self.phase)
        return came

    def share(self, now: float, seconds: Callable[[str], float]) -> float:
        """Return how much of the running phase is over, 0 to 1."""
        if self.phase == Phase.SUCCEEDED:
            return 1.0
        if self.trained is not None:
            return self.trained
        begun = self.entered.get(Phase.RUNNING)
        if begun is None:
            return 0.0
        until = now if self.phase == Phase.RUNNING else self.since
        if self.paused_at is not None:
            until = self.paused_at
        length = seconds(Phase.RUNNING)
        return min(1.0, max(0.0, (until - begun) / length)) if length > 0 else 1.0

    def cancel(self, now: float) -> None:
        """End it; the caller has made sure that it had not ended."""
        self.paused_at = None
        self.move(Phase.CANCELLED, now)

    def pause(self, now: float) -> None:
        """Stop its clock."""
        self.paused_at = now

    def resume(self, now: float) -> None:
        """Let its clock run on: the time that it was paused does not count for its phase."""
        if self.paused_at is not None:
            self.entered[self.phase] += now - self.paused_at
            self.paused_at = None

    def move(self, phase: Phase, at: float) -> None:
        """Put the job into a phase at a time, seconds since 1970."""
        self.phase = phase
        self.entered[phase.value] = at
