"""What every prompt strategy is."""

from __future__ import annotations

from typing import Protocol

from retune.text.conversations import Conversation, Message


class Prompter(Protocol):
    """Turns an example into the messages that a model is shown."""

    @property
    def digest(self) -> str:
        """Digest of all that it puts into prompts; empty where it adds nothing."""
        ...

    def messages(self, example: Conversation) -> tuple[Message, ...]:
        """Return the turns up to the one that is asked for; never anything of the example's own answer."""
        ...


class Plain:
    """The bare question, as the model was trained to be asked."""

    digest = ""

    def messages(self, example: Conversation) -> tuple[Message, ...]:
        """Return the example's turns before its answer."""
        return example.context
