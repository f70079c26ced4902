"""Whoever answers a contender's questions: a model at the place that serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from retune.text.conversations import Conversation, Message
from retune.text.formats import openai_rows

PING = (Message(role="user", content="ping"),)
"""What a served model is asked where no question costs nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One call's end: a text, or the error that took its place."""

    text: str
    error: str
    latency_s: float
    """Of the try that ended the call; neither waits nor earlier tries are in it."""
    prompt_tokens: int = 0
    """As the server counts them; 0 where it does not say."""
    completion_tokens: int = 0
    """With the tokens of thinking, which are billed alike."""
    cut: bool = False
    """Whether the answer ended at the most tokens that it may have."""


class Respondent(Protocol):
    """A model that can be asked. Made without a connection; all its calls belong to one event loop."""

    @property
    def address(self) -> str:
        """Where it is, for people; free of secrets."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All that its answers depend on but the question, as JSON: place, model, decoding parameters."""
        ...

    @property
    def priced_as(self) -> str:
        """Under which backend the price list has it."""
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

        Raises:
            EndpointError: No other question would be answered either, such as after a key was withdrawn.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


def chat_turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return turns as they stand in the rows that models are tuned on; weights are for tuning only."""
    turns = openai_rows.SFT.row_of(Conversation("", tuple(messages)))["messages"]
    return [{key: value for key, value in turn.items() if key != "weight"} for turn in turns]


def readable(text: str) -> str:
    """Return a text that can be stored: half of a surrogate pair, which JSON admits, becomes U+FFFD."""
    # By way of UTF-16, where two halves that belong together are one character again.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
