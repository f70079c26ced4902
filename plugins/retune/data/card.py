"""The data card: one self-contained HTML file without scripts, made from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retune.data import card_plots


def card(figures: Mapping[str, Any]) -> bytes:
    """Return the page that shows a dataset; text of users is escaped.

    Args:
        figures: What `figures.describe` returned, also after a way through JSON.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["signed"] = lambda value: f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"
    environment.filters["file_name"] = lambda path: path.rsplit("/", 1)[-1]
    page = environment.get_template("card.html.j2").render(
        **figures,
        tiles=_tiles(figures),
        # Matplotlib escapes the text that it draws.
        plots={name: Markup(svg) for name, svg in _plots(figures).items()},
        length_plots=[Markup(svg) for svg in _length_plots(figures)],
    )
    return page.encode("utf-8", "replace")


def _tiles(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (number, what, tone) of what to see first; the tone is good, bad or plain."""
    rows, leaks, errors = figures["rows"], figures["leaks"], figures["label_errors"]
    out = rows["read"] - rows["kept"]
    few = rows["train"] < rows["guide"][0]["rows"]
    enough = rows["train"] >= rows["guide"][-1]["rows"]
    tiles = [
        (f"{rows['read']:,}", "rows read", "plain"),
        (f"{out:,}", "left out", "plain"),
        (f"{rows['train']:,}", "to train on", "bad" if few else "good" if enough else "plain"),
    ]
    if figures["labels"]:
        tiles.append((f"{len(figures['labels']['labels']):,}", "labels", "plain"))
    tiles.append((f"{leaks['stopped']:,}", "leaks stopped", "plain"))
    if errors:
        tiles.append((f"{errors['found']:,}", "suspect labels", "bad" if errors["found"] else "good"))
    tiles.append((f"{figures['personal']['total']:,}", "personal data found", "plain"))
    warned = len(figures["warnings"])
    tiles.append((f"{warned:,}", "warning" if warned == 1 else "warnings", "bad" if warned else "good"))
    return tiles


def _plots(figures: Mapping[str, Any]) -> dict[str, str]:
    labels, kinds, traffic = figures["labels"], figures["personal"]["kinds"], figures["traffic"]
    return {
        "flow": card_plots.flow(figures["rows"], figures["drops"]),
        "labels": card_plots.labels(labels["labels"]) if labels else "",
        "personal": card_plots.counts(kinds) if kinds else "",
        "distance": card_plots.distance(traffic["auc"]) if traffic and traffic["auc"] is not None else "",
    }


def _length_plots(figures: Mapping[str, Any]) -> list[str]:
    drawn = [
        card_plots.lengths(found, f"{part}s", "characters")
        for part, found in figures["lengths"].items()
        if found["rows"]
    ]
    return drawn + [
        card_plots.lengths(total["lengths"], f"{_base(total['base_model'])}", "tokens", total["window"])
        for total in figures["tokens"]
        if total["counted"]
    ]


def _base(base_model: str) -> str:
    return base_model.rstrip("/").rsplit("/", 1)[-1]
