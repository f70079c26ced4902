"""Reads the chat completions of OpenAI, of services with its API and of vLLM, whatever they send.

Shape: developers.openai.com/api/reference/resources/chat (`choices[].message.content`,
`finish_reason`, `usage`). Only what an evaluation needs is read, so that no new field can break it.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from retune.evaluation.respondents import Answer, readable

_SHOWN = 200
_BROKEN_OFF = ("abort", "error")
"""How vLLM says with status 200 that it, not the model, ended an answer, such as while it stops."""


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None


class _Details(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    usage: _Usage | None = None


_decoder = msgspec.json.Decoder(_Completion)


def read_completion(body: bytes, latency_s: float) -> Answer:
    """Return the answer that a response with status 200 holds, or why it holds none.

    Args:
        body: As it came: it may be a page of HTML, an error in JSON, or not even UTF-8.
        latency_s: Time that the call took.
    """
    try:
        found = _decoded(body)
    except (ValueError, RecursionError):  # the latter: brackets in brackets, without end
        found = _Completion()
    if not found.choices:
        start = body[: 4 * _SHOWN].decode("utf-8", "replace")
        return Answer("", f"no completion in the answer: {' '.join(start.split())[:_SHOWN]!r}", latency_s)
    choice, usage = found.choices[0], found.usage or _Usage()
    text, cut = choice.message.content, choice.finish_reason == "length"
    thought = usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens
    error = "" if text is not None else "no content in the answer"
    if not text and thought and cut:
        error = f"no content in the answer: thinking took {thought} tokens; raise evaluation.max_tokens"
    if choice.finish_reason in _BROKEN_OFF:
        text, error = "", f"the server broke the answer off: finish_reason {choice.finish_reason!r}"
    return Answer(
        text=readable(text or ""),
        error=error,
        latency_s=latency_s,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cut=cut,
    )


def _decoded(body: bytes) -> _Completion:
    """Read a body; raises ValueError where it is no completion."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # What msgspec refuses and a tolerant reader takes: half of a surrogate pair, bytes that are no UTF-8.
        value: Any = json.loads(body.decode("utf-8", "replace"))
        return msgspec.convert(value, _Completion)
