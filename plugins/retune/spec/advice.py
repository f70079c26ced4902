"""The spec's advice: whether a run asks if it should train at all, and what it does with the answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from retune.spec.parts import Part


class Advising(Part):
    """What is said before money is spent, and after a training."""

    mode: Literal["follow", "tell", "off"] = "tell"
    """`tell`: shown, stops nothing; `follow`: trains only where the advice says so; `off`: not asked."""
    target: float | None = Field(default=None, gt=0, le=1)
    """Score of `gate.metric` at which a prompt is enough; none: a prompt that leaves nothing to be shown."""
    learning_curve: bool = False
    """Whether the chosen recipe is trained on parts of the rows as well, to see what more would bring."""
