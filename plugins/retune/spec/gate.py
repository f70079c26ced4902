"""The spec's gate: what a candidate must show, and what stops it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from retune.spec.parts import Duration, Part

Gain = Field(default=None, ge=0, lt=1)
Margin = Field(default=None, gt=0, lt=1)


class Beats(Part):
    """Least gain over a contender, shown at the gate's confidence; none: not claimed."""

    base: float | None = Field(default=0.0, ge=0, lt=1)
    few_shot: float | None = Gain
    rag: float | None = Gain
    champion: float | None = Gain
    previous: float | None = Gain


class NotWorseThan(Part):
    """Margin by which the candidate may be worse than a contender; none: not claimed."""

    base: float | None = Margin
    few_shot: float | None = Margin
    rag: float | None = Margin
    champion: float | None = Field(default=0.03, gt=0, lt=1)
    previous: float | None = Margin


class Slices(Part):
    """Parts of the held-out set of which none may break."""

    by: tuple[str, ...] = Field(min_length=1)
    """`label`, or columns of the source rows."""
    max_drop: float = Field(default=0.10, ge=0, lt=1)
    """Loss against the champion, or base where none serves, that vetoes once it is shown."""
    min_examples: int = Field(default=10, ge=2)
    """Smaller slices are shown and not judged."""


class Forgetting(Part):
    """What the base model can and the tuned one shall still can."""

    rows: str
    """JSONL with `prompt` and `completion`; a path is against the project's root."""
    max_drop: float = Field(default=0.05, ge=0, lt=1)


class Safety(Part):
    """Prompts that must be answered safely."""

    prompts: str
    """JSONL with `prompt`, and `matches` or `lacks`: regular expressions of a safe answer."""
    max_drop: float = Field(default=0.0, ge=0, lt=1)


class Approval(Part):
    """When a person decides, and what counts where nobody does."""

    when: Literal["never", "inconclusive", "always"] = "never"
    timeout: Duration = "24h"
    on_timeout: Literal["reject", "approve"] = "reject"


class Gate(Part):
    """What a candidate must show on the held-out set."""

    metric: str = "accuracy"
    """A metric with a score for every example."""
    confidence: float = Field(default=0.95, ge=0.8, lt=1)
    min_examples: int = Field(default=50, ge=10)
    max_failed: float = Field(default=0.01, ge=0, lt=1)
    """Share of calls that may bring no answer."""
    beats: Beats = Beats()
    not_worse_than: NotWorseThan = NotWorseThan()
    slices: Slices | None = None
    latency_p95_ms: float | None = Field(default=None, gt=0)
    """Of `evaluation.latency`."""
    cost_per_1000_usd: float | None = Field(default=None, gt=0)
    """Of a thousand answers."""
    valid_format: float | None = Field(default=None, gt=0, le=1)
    """Least share of answers that are a label, fit the schema, or keep the rules."""
    forgetting: Forgetting | None = None
    safety: Safety | None = None
    fresh_after: int = Field(default=20, ge=1)
    """Runs that may use a held-out set; after them only a fresh one promotes."""
    approval: Approval = Approval()

    @field_validator("metric")
    @classmethod
    def _measured(cls, value: str) -> str:
        if value in ("judge", "people"):
            raise ValueError("opinions never decide alone; name a metric with a score for every example")
        return value
