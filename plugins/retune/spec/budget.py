"""What a pipeline may spend, and when it must ask."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from retune.spec.parts import Duration, Part, seconds

# Strict: `true` and "5" are no amounts.
Usd = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
"""US dollars."""


class Budget(Part):
    """What a run and a calendar month (UTC) of the pipeline may spend on training, and when it asks."""

    per_run_usd: Usd | None = None
    """A run that costs more is refused; none: no limit."""
    ask_above_usd: Usd | None = None
    """A run that costs more asks a person first; none: only an unknown price asks."""
    monthly_usd: Usd | None = None
    """A run by which a month would cost more is refused; none: no limit."""
    approval_timeout: Duration = "24h"
    """How long a run waits for an answer."""
    on_timeout: Literal["reject", "approve"] = "reject"
    """What counts as the answer where nobody gave one in time."""

    @field_validator("ask_above_usd")
    @classmethod
    def _asks_before_it_refuses(cls, value: float | None, info: ValidationInfo) -> float | None:
        limit = info.data.get("per_run_usd")
        if value is not None and limit is not None and over(value, limit):
            raise ValueError(f"above per_run_usd ({dollars(limit)}), so that nobody would ever be asked")
        return value

    @field_validator("monthly_usd")
    @classmethod
    def _month_holds_a_run(cls, value: float | None, info: ValidationInfo) -> float | None:
        for name in ("per_run_usd", "ask_above_usd"):
            least = info.data.get(name)
            if value is not None and least is not None and over(least, value):
                raise ValueError(f"below {name} ({dollars(least)}), which could never be spent")
        return value

    @field_validator("approval_timeout")
    @classmethod
    def _leaves_time(cls, value: str) -> str:
        # Airflow takes a time-out of nothing for none, and the run would wait for ever.
        if not seconds(value):
            raise ValueError("leaves no time to answer")
        return value


def over(usd: float, limit: float | None) -> bool:
    """Say whether an amount exceeds a limit; None is no limit.

    Sums of binary fractions are off by less than a millionth of a dollar, which does not count.
    """
    return limit is not None and round(usd - limit, 6) > 0


def dollars(usd: float) -> str:
    """Return an amount as people read it: two decimals, and two more where they say something."""
    text = f"{usd:,.4f}"
    return f"{text.removesuffix('00')} USD"
