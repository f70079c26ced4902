"""What every section of the spec is made of."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[a-z0-9-]{1,40}$"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Duration = Annotated[str, Field(pattern=r"^[0-9]{1,6}[smhd]$")]
"""A number and a unit: 30s, 15m, 24h or 7d. `seconds` reads it."""


def seconds(duration: Duration) -> float:
    """Return a duration of the spec in seconds."""
    return timedelta(**{_UNITS[duration[-1]]: int(duration[:-1])}).total_seconds()


class Part(BaseModel):
    """Base of the spec's sections: immutable, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,  # JSON, as which a spec is frozen, has neither
    )


def readable_cron(value: str) -> str:
    """Return a cron as it came; raises ValueError where it is none."""
    from croniter import croniter  # type: ignore[import-untyped]

    if not croniter.is_valid(value):
        raise ValueError("neither five cron fields nor a preset such as @hourly")
    return value
