"""What OpenAI finds in a training file while it validates a job.

The words are those of failed jobs as users report them. Reasons are given by example, that is by line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LEAST_EXAMPLES = 10
_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Found:
    """What a file holds."""

    examples: int
    tokens: int
    """About: a token is taken for four bytes of text."""
    error: dict[str, Any] | None = None
    """Why a job with it fails, as OpenAI's jobs have it: code, message, param."""


class _Bad(Exception):
    """A line that cannot be used."""


def examine(data: bytes, method: str, param: str = "training_file") -> Found:
    """Look through a file.

    Args:
        data: JSONL.
        method: `supervised`, `dpo` or `reinforcement`.
        param: `training_file` or `validation_file`.
    """
    examples = tokens = 0
    try:
        for number, line in enumerate(data.splitlines(), 1):
            if line.strip():
                tokens += sum(_check(_dictionary(line, number), number, method)) // _BYTES_PER_TOKEN + 1
                examples += 1
    except _Bad as bad:
        return Found(examples, tokens, invalid_file(str(bad), param))
    if param == "training_file" and examples < LEAST_EXAMPLES:
        message = f"Training file has {examples} example(s), but must have at least {LEAST_EXAMPLES} examples"
        error = {"code": "invalid_n_examples", "message": message, "param": param}
        return Found(examples, tokens, error)
    return Found(examples, tokens)


def invalid_file(reason: str, param: str = "training_file") -> dict[str, Any]:
    """Return the error of a job whose file cannot be used."""
    side = param.replace("_", " ")
    message = f"The job failed due to an invalid {side}. {reason}"
    return {"code": f"invalid_{param}", "message": message, "param": param}


def _dictionary(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        start = line[:40].decode(errors="replace")
        raise _Bad(
            "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
            f'Line {number} is not a dictionary (line starts with: "{start}...").'
        )
    return row


def _check(row: dict[str, Any], number: int, method: str) -> Iterator[int]:
    """Yield the sizes in bytes of an example's texts; raises _Bad where it has not the method's shape."""
    if method == "dpo":
        if "input" not in row:
            raise _Bad(f"Invalid file format. Example {number} is missing key 'input'")
        yield from _messages(row["input"], number)
        for side in ("preferred_output", "non_preferred_output"):
            yield from _messages({"messages": row.get(side)}, number, side)
        return
    yield from _messages(row, number)
    roles = [message["role"] for message in row["messages"]]
    if method == "supervised" and "assistant" not in roles:
        raise _Bad(f"Invalid file format. Example {number} must have at least one message from the assistant")
    if method == "reinforcement" and roles[-1] != "user":
        raise _Bad(f"Invalid file format. Example {number}: the last message must be from the user")


def _messages(holder: Any, number: int, key: str = "messages") -> Iterator[int]:
    messages = holder.get("messages") if isinstance(holder, dict) else None
    if not isinstance(messages, list) or not messages:
        raise _Bad(f"Invalid file format. Example {number} is missing key '{key}'")
    for place, message in enumerate(messages, 1):
        if not isinstance(message, dict) or "role" not in message:
            raise _Bad(
                f"Invalid file format. Example {number}, message {place} "
                "Discriminator 'role' is missing in value"
            )
        if not isinstance(message["role"], str) or message["role"] not in _ROLES:
            raise _Bad(
                f"Invalid file format. Example {number}, message {place} "
                f"No match for discriminator 'role' and value '{message['role']}'"
            )
        content = message.get("content")
        if content is None and not message.get("tool_calls") and not message.get("function_call"):
            raise _Bad(f"Invalid file format. Example {number}, message {place} is missing key 'content'")
        yield len(json.dumps(content).encode())
