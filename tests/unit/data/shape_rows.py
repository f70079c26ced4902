"""Pieces of rows, and how they are read."""

from __future__ import annotations

from typing import Any

from retune.data.shapes import (
    Turns,
    reader_of,
)
from retune.spec.data import Columns, Data

HALF = "\ud83d"
COLUMNS = Columns(prompt="text", completion="queue")
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
ASKS = {"role": "user", "content": "How?"}
SAYS = {"role": "assistant", "content": "So."}


def read(shape: str, row: Any, system: str = "") -> Turns:
    """Read a row of a shape."""
    columns = COLUMNS if shape == "columns" else Columns()
    return reader_of(Data(sources=("x",), format=shape, columns=columns, system_prompt=system))(row)
