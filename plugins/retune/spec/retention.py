"""How long things are kept: what `retune cleanup` goes by."""

from __future__ import annotations

from pydantic import Field

from retune.spec.parts import Duration, Part


class KeptModels(Part):
    """Which models stay beside those that a route or a job points at."""

    keep: int = Field(default=5, ge=1)
    """Newest releases whose model, rows and evidence stay."""


class Retention(Part):
    """How long reports, captured traffic and models are kept."""

    reports: Duration = "90d"
    """Pages and answers of evaluations that no kept release points at."""
    captured: Duration = "30d"
    """Captured traffic."""
    models: KeptModels = KeptModels()
