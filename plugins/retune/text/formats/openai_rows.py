"""OpenAI's lines for supervised fine-tuning and for direct preference optimisation.

Read in 2026:

- developers.openai.com/api/docs/guides/supervised-fine-tuning: at least 10 examples.
- developers.openai.com/api/docs/guides/direct-preference-optimization: text only, one turn a pair:
  the preferred and the non-preferred message are the last of the assistant.
- The OpenAPI description (2.3.0): a file up to 512 MB, through `/uploads` up to 8 GB; names of
  functions are up to 64 letters, digits, `_` and `-`.
- Azure's "Models" page for fine-tuning (azure-ai-docs, fine-tune-models.md): training examples of
  gpt-4o, gpt-4o-mini, gpt-4.1, -mini and -nano up to 65,536 tokens.

Not confirmed on a page that could be read: that the 65,536 tokens hold for gpt-4.1 at OpenAI
itself; that the last turn must be the assistant's and one answer must have the weight 1 (both are
asked for here: there would be nothing to learn); whether MB means 10^6 bytes (the smaller is
taken); any least number of pairs for preferences (10 is taken).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from retune.text.conversations import Conversation, Message
from retune.text.formats.limits import Flaw, Format, Limits, pair_flaws, turn_flaws
from retune.text.roles import in_order

FILES_BYTES = 512 * 10**6
"""Bytes up to which `/files` takes a file; a larger one goes through `/uploads`."""
MOST_TOKENS = {"gpt-4o": 65_536, "gpt-4.1": 65_536, "gpt-3.5-turbo": 16_385}
"""Tokens of a training example, by the beginning of the model's name."""

_GUIDE = "https://developers.openai.com/api/docs/guides/"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def most_tokens(model: str) -> int | None:
    """Return the most tokens of a training example for a model; None where it is not known."""
    return next((most for start, most in MOST_TOKENS.items() if model.startswith(start)), None)


def _message(turn: Message) -> dict[str, Any]:
    # Calls without a text have null there, as the service writes them itself.
    found: dict[str, Any] = {"role": turn.role, "content": turn.content or (None if turn.tool_calls else "")}
    if turn.name and turn.role != "tool":
        found["name"] = turn.name
    if turn.role == "tool":
        found["tool_call_id"] = turn.tool_call_id
    if turn.tool_calls:
        found["tool_calls"] = msgspec.to_builtins(turn.tool_calls)
    if turn.weight != 1:
        found["weight"] = turn.weight
    return found


def _tools(row: Conversation) -> dict[str, Any]:
    return {"tools": msgspec.json.decode(row.tools)} if row.tools else {}


def _sft(row: Conversation) -> dict[str, Any]:
    return {"messages": [_message(turn) for turn in row.messages], **_tools(row)}


def _preference(row: Conversation) -> dict[str, Any]:
    return {
        "input": {"messages": [_message(turn) for turn in row.context], **_tools(row)},
        "preferred_output": [_message(row.messages[-1])],
        "non_preferred_output": [_message(turn) for turn in row.rejected],
    }


def _flaws(row: Conversation) -> Iterator[Flaw]:
    yield from turn_flaws(row)
    if not in_order(row.messages):
        roles = ", ".join(turn.role for turn in row.messages)
        yield f"the turns are {roles:.80}", "put system first, then user and assistant by turns"
    for number, turn in enumerate((*row.messages, *row.rejected)):
        for call in turn.tool_calls:
            if not call.id:
                yield f"turn {number} calls {call.function.name} without an id", "give every call an id"
            if not _NAME.fullmatch(call.function.name):
                what = f"turn {number} calls {call.function.name!r:.80}"
                yield what, "name functions by up to 64 letters, digits, _ and -"


def _sft_flaws(row: Conversation) -> Iterator[Flaw]:
    yield from _flaws(row)
    if not any(turn.weight for turn in row.messages if turn.role == "assistant"):
        yield "no answer has the weight 1", "there is nothing to learn: take the row out"


def _preference_flaws(row: Conversation) -> Iterator[Flaw]:
    yield from _flaws(row)
    yield from pair_flaws(row)
    for turn in (row.messages[-1], *row.rejected):
        if turn.weight != 1:
            yield "an answer of the pair has the weight 0", "take the weight out"


_MOST_BYTES = 8 * 10**9
SFT = Format(
    "OpenAI SFT",
    _sft,
    _sft_flaws,
    Limits(_GUIDE + "supervised-fine-tuning", least_examples=10, most_bytes=_MOST_BYTES),
)
"""Supervised fine-tuning; of a preference the better answer is learned."""
PREFERENCE = Format(
    "OpenAI preference",
    _preference,
    _preference_flaws,
    Limits(_GUIDE + "direct-preference-optimization", least_examples=10, most_bytes=_MOST_BYTES),
)
"""Direct preference optimisation."""
