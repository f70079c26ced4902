"""What examples belong to: a group whose answers hang together, and the slices that the gate looks at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from retune.records import Attributes

if TYPE_CHECKING:
    import polars as pl

_HEX_DIGITS = 16


def attribute_lines(examples: pl.DataFrame, pipeline: str) -> Iterator[bytes]:
    """Yield one JSON line an example, in the order given: an `Attributes`.

    Args:
        examples: With the columns `id`, `group` and `slices`.
        pipeline: Whose they are: the same customer has another digest in another pipeline.
    """
    for name, group, slices in examples.select("id", "group", "slices").iter_rows():
        found = Attributes(
            id=name, group=_digest(pipeline, group), slices=json.loads(slices) if slices else {}
        )
        yield found.model_dump_json().encode() + b"\n"


def _digest(pipeline: str, group: str) -> str:
    return hashlib.sha256(f"{pipeline}\0{group}".encode()).hexdigest()[:_HEX_DIGITS] if group else ""
