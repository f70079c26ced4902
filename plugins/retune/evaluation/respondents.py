"""Whoever answers a contender's questions: a model at the place that serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from retune.text.conversations import Message

PING = (Message(role="user", content="ping"),)
"""What a served model is asked where no question costs nothing."""


@dataclass(frozen=True)
class Answer:
    """One call's end: a text, or the error that took its place."""

    text: str
    error: str
    latency_s: float


class Respondent(Protocol):
    """A model that can be asked. Made without a connection; all its calls belong to one event loop."""

    @property
    def address(self) -> str:
        """Where it is, for people; free of secrets."""
        ...

    async def check(self) -> None:
        """Make sure that the model is served; comes before the first question.

        Raises:
            EndpointError: It is not, or nobody answers there.
        """
        ...

    async def answer(self, messages: Sequence[Message]) -> Answer:
        """Answer greedily; a call that fails brings its error in place of a text.

        Args:
            messages: The turns up to the one that is asked for.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
