"""In which order the roles of a conversation may follow each other."""

from __future__ import annotations

from collections.abc import Sequence

from retune.text.conversations import Message

_MAY_FOLLOW = {"system": ("", "system"), "user": ("", "system", "assistant"), "assistant": ("user", "tool")}


def in_order(messages: Sequence[Message], before: str = "") -> bool:
    """Return whether turns follow each other as providers ask.

    System turns come first; then user and assistant alternate, the user first. Between two turns
    of the assistant stand the tools' answers to exactly what the first one called.

    Args:
        messages: The turns.
        before: Role of the turn that stands before them; empty: none does.
    """
    waiting: list[str] = []
    for message in messages:
        role = message.role
        if role == "tool":
            if message.tool_call_id not in waiting:
                return False
            waiting.remove(message.tool_call_id)
        elif waiting or before not in _MAY_FOLLOW.get(role, ()):
            return False
        if message.tool_calls:
            waiting = [call.id for call in message.tool_calls]
        before = role
    return True
