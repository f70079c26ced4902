"""The page that a reviewer reads: questions, each with two answers, and no names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retune.evaluation.judging.pairs import Pair


def page(pipeline: str, pairs: Sequence[Pair]) -> bytes:
    """Return one self-contained HTML file without scripts; text of users is escaped.

    Args:
        pipeline: The pipeline's name.
        pairs: What is compared, in the order of the form's fields.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(pipeline=pipeline, pairs=pairs)
    # An answer may hold half of a surrogate pair, which no file can.
    return html.encode("utf-8", "replace")
