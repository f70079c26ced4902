"""The record of whether to fine-tune at all, and of what figures say after a training."""

from __future__ import annotations

from typing import Literal

from retune.records.base import Frozen, Record

AdviceVerdict = Literal["fine_tune", "prompt_is_enough", "use_rag", "collect_more_data", "combine"]
"""Train; ship the prompt; give documents; first get more or better rows; train and give documents."""


class Finding(Frozen):
    """One thing that figures say."""

    what: str
    """Its name for programs, such as `rows` or `rag_gain`."""
    value: float | None
    """None where it could not be measured."""
    threshold: float | None = None
    """What the value was held against; None where it is only told."""
    low: float | None = None
    high: float | None = None
    """Ends of the value's interval; None where it has none."""
    sentence: str
    """For people, with the numbers."""
    action: str = ""
    """What to do about it; empty where nothing is."""
    speaks_for: AdviceVerdict | None = None
    """The verdict that it is a reason for; None where it is only told."""


class Advice(Record):
    """Whether to fine-tune at all, with the evidence."""

    verdict: AdviceVerdict
    reason: str
    """One plain sentence with the numbers."""
    evidence: tuple[Finding, ...]
    dataset_digest: str
    price_usd: float | None = None
    """What the trainings of the run would cost together; None where a price is not known or was not asked."""

    @property
    def trains(self) -> bool:
        """Whether a run that follows the advice trains."""
        return self.verdict in ("fine_tune", "combine")
