"""A provider's format of a dataset, and whether a file in it would be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from retune.errors import DataError, Problem
from retune.text.conversations import Conversation, Message

_SHOWN = 20
_encoder = msgspec.json.Encoder()

Flaw = tuple[str, str]
"""What a format cannot hold of a row, and what to do."""


@dataclass(frozen=True)
class Limits:
    """What a provider takes; None where it publishes no bound.

    Attributes:
        page: Where it says so.
        least_examples: Fewest rows of a training file.
        most_examples: Most rows of a training file.
        most_validation: Most rows of a validation file.
        most_bytes: Bytes of a file.
        most_tokens: Tokens of an example, where that does not depend on the model.
    """

    page: str
    least_examples: int = 1
    most_examples: int | None = None
    most_validation: int | None = None
    most_bytes: int | None = None
    most_tokens: int | None = None


@dataclass(frozen=True)
class Format:
    """How one provider wants one kind of example.

    Attributes:
        name: For problems.
        row_of: A conversation without flaws -> the object of its line.
        flaws_of: What the format cannot hold of a conversation, or the provider would refuse.
        limits: What the provider takes.
    """

    name: str
    row_of: Callable[[Conversation], dict[str, Any]]
    flaws_of: Callable[[Conversation], Iterator[Flaw]]
    limits: Limits

    def line(self, row: Conversation) -> bytes:
        """Return a conversation as the provider's line, with its line feed.

        Raises:
            DataError: The format cannot hold it.
        """
        flaws = list(self.flaws_of(row))
        if flaws:
            raise DataError([Problem(f"{self.name}: {what}", action) for what, action in flaws])
        return _encoder.encode(self.row_of(row)) + b"\n"


def check(
    rows: Iterable[Conversation],
    wanted: Format,
    file: str,
    *,
    validation: bool = False,
    tokens: Callable[[Conversation], int] | None = None,
    most_tokens: int | None = None,
) -> list[Problem]:
    """Return why a provider would refuse a whole file; nothing where it would take it.

    Args:
        rows: All rows of the file, in its order.
        wanted: The format that it is to have.
        file: What the problems call it.
        validation: Whether it is the validation file, which has bounds of its own.
        tokens: Counts the tokens of an example; none: lengths are not checked.
        most_tokens: The model's bound on an example; none: the format's.
    """
    problems: list[Problem] = []
    most_tokens = most_tokens or wanted.limits.most_tokens
    count = size = flawed = 0
    for count, row in enumerate(rows, start=1):
        flaws = list(wanted.flaws_of(row))
        size += 0 if flaws else len(wanted.line(row))
        if tokens and most_tokens and (length := tokens(row)) > most_tokens:
            flaws.append((f"has {length:,} tokens, at most {most_tokens:,} are taken", "shorten it"))
        flawed += len(flaws)
        room = _SHOWN - len(problems)
        problems += [Problem(f"{wanted.name}: {what}", action, file, count) for what, action in flaws[:room]]
    if flawed > _SHOWN:
        problems.append(Problem(f"and {flawed - _SHOWN} more problems", "mend these first", file))
    return problems + list(_of_the_file(wanted, file, count, size, validation))


def _of_the_file(wanted: Format, file: str, count: int, size: int, validation: bool) -> Iterator[Problem]:
    limits = wanted.limits
    least = 1 if validation else limits.least_examples
    most = limits.most_validation if validation else limits.most_examples
    if count < least:
        yield Problem(f"{wanted.name}: {count} examples, at least {least} are needed", "add rows", file)
    if most is not None and count > most:
        what = f"{wanted.name}: {count:,} examples, at most {most:,} are taken"
        yield Problem(what, "cap the rows: data.caps or data.split", file)
    if limits.most_bytes is not None and size > limits.most_bytes:
        what = f"{wanted.name}: {size:,} bytes, at most {limits.most_bytes:,} are taken"
        yield Problem(what, "cap the rows: data.caps", file)


def turn_flaws(row: Conversation) -> Iterator[Flaw]:
    """Yield what no provider takes: turns that say nothing, calls without JSON, no answer at the end."""
    for number, turn in enumerate((*row.messages, *row.rejected)):
        if not turn.content and not turn.tool_calls and turn.role != "tool":
            yield f"turn {number} of the {turn.role} is empty", "take the row out"
        for call in turn.tool_calls:
            if json_object(call.function.arguments) is None:
                shown = f"{call.function.arguments:.60}"
                yield f"turn {number} calls {call.function.name} with {shown!r}", "write a JSON object"
    if row.messages[-1].role != "assistant":
        yield f"the last turn is the {row.messages[-1].role}'s", "end with the assistant's answer"


def pair_flaws(row: Conversation) -> Iterator[Flaw]:
    """Yield why a row is no pair of single answers."""
    if len(row.rejected) != 1:
        yield f"the worse answer has {len(row.rejected)} turns, not one", "compare two single answers"
    elif row.rejected[0].role != "assistant":
        yield f"the worse answer is the {row.rejected[0].role}'s", "compare two answers of the assistant"


def unweighted(turns: Iterable[Message], who: str) -> Iterator[Flaw]:
    """Yield the turns that are not to be learned, for those who learn all."""
    for number, turn in enumerate(turns):
        if turn.weight != 1:
            yield f"turn {number} has weight {turn.weight}, and {who} learns every answer", "take the row out"


def json_object(text: str) -> dict[str, Any] | None:
    """Return the object that a text holds as JSON; None where it is something else."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
