"""The advice's page: one self-contained HTML file without scripts."""

from __future__ import annotations

from pathlib import Path

from retune.records import Advice

_WORDS = {
    "fine_tune": "fine-tune",
    "prompt_is_enough": "a prompt is enough",
    "use_rag": "give it documents",
    "collect_more_data": "collect more data",
    "combine": "fine-tune, and give it documents",
}


def page(pipeline: str, advice: Advice) -> str:
    """Return the page that shows an advice with its evidence.

    Args:
        pipeline: Whose run it is.
        advice: What was found.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["figure"] = _figure
    return environment.get_template("advice.html.j2").render(
        pipeline=pipeline, advice=advice, word=_WORDS[advice.verdict], words=_WORDS
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
