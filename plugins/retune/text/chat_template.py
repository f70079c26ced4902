"""A conversation as the base model's chat template writes it, without loading transformers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from retune.text.conversations import Conversation


@functools.lru_cache(maxsize=8)
def renderer(template: str) -> Callable[[Conversation], str]:
    """Return what writes a conversation by a template; it raises ValueError where it cannot.

    The template is somebody's code: it runs in jinja's sandbox.

    Args:
        template: The Jinja text that a tokenizer brings.

    Raises:
        ValueError: The template is no such text.
    """
    import jinja2

    try:
        compiled = _environment().from_string(template)
    except jinja2.TemplateError as error:
        raise ValueError(f"the chat template is broken: {error}") from error

    def render(row: Conversation) -> str:
        try:
            text: str = compiled.render(
                messages=[_turn(turn.to_json()) for turn in row.messages],
                tools=json.loads(row.tools) if row.tools else None,
                documents=None,
                add_generation_prompt=False,
                bos_token="",
                eos_token="",
            )
            return text
        # Templates fail by any exception: on a missing key, a type, or by their own raise_exception.
        except Exception as error:
            raise ValueError(f"the chat template refuses a conversation: {error}") from error

    return render


def _turn(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn as templates expect it: arguments of calls as a mapping, no weight."""
    turn.pop("weight", None)
    calls = [
        {**call, "function": {**call["function"], "arguments": _arguments(call["function"]["arguments"])}}
        for call in turn.get("tool_calls", ())
    ]
    return {**turn, "tool_calls": calls} if calls else turn


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _environment() -> Any:
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what is learned; here it only lets its text through."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise ValueError(message)

    def as_json(value: Any, indent: int | None = None, **options: Any) -> str:
        # Jinja's own tojson escapes for HTML.
        return json.dumps(value, ensure_ascii=False, indent=indent, **options)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    made.filters["tojson"] = as_json
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    return made
