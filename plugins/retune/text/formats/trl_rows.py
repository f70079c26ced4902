"""TRL's conversational rows for SFTTrainer and DPOTrainer.

The shapes are those of huggingface.co/docs/trl/dataset_formats; arguments of a tool's call are an
object there, and TRL 1.16 takes `tools` as JSON text, which keeps Arrow from mixing the tools of all
rows into one type. TRL publishes no limit on rows or bytes, and learns every turn of the assistant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retune.text.conversations import Conversation, Message
from retune.text.formats.limits import Flaw, Format, Limits, json_object, pair_flaws, turn_flaws, unweighted

_PAGE = "https://huggingface.co/docs/trl/dataset_formats"


def _message(turn: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.name:
        found["name"] = turn.name
    if turn.tool_call_id:
        found["tool_call_id"] = turn.tool_call_id
    if turn.tool_calls:
        found["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {
                    "name": call.function.name,
                    "arguments": json_object(call.function.arguments),
                },
            }
            for call in turn.tool_calls
        ]
    return found


def _tools(row: Conversation) -> dict[str, Any]:
    return {"tools": row.tools} if row.tools else {}


def _sft(row: Conversation) -> dict[str, Any]:
    return {"messages": [_message(turn) for turn in row.messages], **_tools(row)}


def _preference(row: Conversation) -> dict[str, Any]:
    return {
        "prompt": [_message(turn) for turn in row.context],
        "chosen": [_message(row.messages[-1])],
        "rejected": [_message(turn) for turn in row.rejected],
        **_tools(row),
    }


def _sft_flaws(row: Conversation) -> Iterator[Flaw]:
    yield from turn_flaws(row)
    yield from unweighted(row.messages, "TRL")


def _preference_flaws(row: Conversation) -> Iterator[Flaw]:
    yield from turn_flaws(row)
    yield from pair_flaws(row)


SFT = Format("TRL SFT", _sft, _sft_flaws, Limits(_PAGE))
"""Supervised fine-tuning; of a preference the better answer is learned."""
PREFERENCE = Format("TRL preference", _preference, _preference_flaws, Limits(_PAGE))
"""Direct preference optimisation."""
