"""The data card's plots as inline SVG, so that the page needs neither scripts nor other files."""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

from retune.data.distributions import bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GREY, ORANGE = "#1c2733", "#51606f", "#c9d2dc", "#c2570c"
SIDES = {"train": "#2563a8", "validation": "#7fb0e0", "held_out": "#d9962b"}
_MOST_IN_COLUMN, _MOST_LABELS = 40, 120
_MOST_CHARS = 34
_P = ParamSpec("_P")


def _styled(draw: Callable[_P, str]) -> Callable[_P, str]:
    """Draw the same bytes for the same figures, and a label's `$` as it stands."""

    @functools.wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> str:
        from matplotlib import rc_context

        style: dict[Any, Any] = {
            "svg.hashsalt": "retune",
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.size": 9,
            "text.color": INK,
            "axes.labelcolor": QUIET,
            "axes.edgecolor": GREY,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": QUIET,
            "ytick.color": INK,
        }
        with rc_context(style), warnings.catch_warnings():
            # Labels may be in any script: the reader's browser has the glyphs that are missing here.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return draw(*args, **kwargs)

    return styled


@_styled
def flow(rows: Mapping[str, Any], drops: Sequence[Mapping[str, Any]]) -> str:
    """Draw what came in, what went out at each step, and what is left."""
    steps = [("rows read", 0, rows["read"], SIDES["train"])]
    left = rows["read"]
    for drop in drops:
        left -= drop["rows"]
        steps.append((drop["reason"].replace("_", " "), left, drop["rows"], ORANGE))
    steps.append(("kept", 0, rows["kept"], SIDES["train"]))
    figure, axes = _axes(10, 0.5 + 0.3 * len(steps))
    for place, (_, start, size, colour) in enumerate(steps):
        # A step of few rows is a hair, not nothing.
        axes.barh(place, max(size, rows["read"] / 500), left=start, color=colour, height=0.66)
        sign = "−" if colour == ORANGE else ""
        axes.annotate(
            f"{sign}{size:,}", (start + size, place), xytext=(6, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(steps)), [name for name, *_ in steps])
    axes.set_xlim(0, max(rows["read"], 1) * 1.1)
    _bars(axes)
    return _svg(figure)


@_styled
def labels(counted: Sequence[Mapping[str, Any]]) -> str:
    """Draw each label's rows by side, the largest first; of very many labels the two ends."""
    from matplotlib.figure import Figure

    shown = list(counted)
    if len(shown) > _MOST_LABELS:
        half = _MOST_LABELS // 2
        shown = [*shown[:half], *shown[-half:]]
    columns = math.ceil(len(shown) / _MOST_IN_COLUMN)
    size = math.ceil(len(shown) / columns)
    row = 0.3 if size <= 12 else 0.2 if size <= 26 else 0.165
    figure = Figure(figsize=(10, 0.8 + row * size), layout="constrained")
    parts = figure.subplots(1, columns, sharex=True, squeeze=False)[0]
    for number, axes in enumerate(parts):
        part = shown[number * size : (number + 1) * size]
        start = [0] * len(part)
        for side, colour in SIDES.items():
            values = [item[side] for item in part]
            axes.barh(range(len(part)), values, left=start, color=colour, height=0.74, label=_name(side))
            start = [a + b for a, b in zip(start, values, strict=True)]
        names = [_short(item["label"]) for item in part]
        axes.set_yticks(range(len(part)), names, fontsize=9 if size <= 26 else 7)
        axes.set_ylim(size - 0.4, -0.6)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    figure.legend(
        *parts[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(SIDES), frameon=False
    )
    return _svg(figure)


@_styled
def lengths(figures: Mapping[str, Any], title: str, unit: str, window: int | None = None) -> str:
    """Draw a histogram of lengths with its median, and the recipe's window where it is near."""
    figure, axes = _axes(4.4, 2.3)
    for start, end, count in bins(figures):
        axes.bar(start, count, width=end - start, align="edge", color=SIDES["train"], linewidth=0)
    middle = figures["quantiles"]["p50"]
    axes.axvline(middle, color=ORANGE, linewidth=1.4, label=f"median {middle:,}")
    if window and window <= 1.5 * figures["edges"][-1]:
        axes.axvline(window, color=INK, linewidth=1.2, linestyle="--", label=f"window {window:,}")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(unit + (f" ({figures['above']:,} longer rows are not shown)" if figures["above"] else ""))
    axes.set_ylabel("rows")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    return _svg(figure)


@_styled
def counts(values: Mapping[str, int]) -> str:
    """Draw a few named counts, the largest first."""
    figure, axes = _axes(6, 0.45 + 0.3 * len(values))
    axes.barh(range(len(values)), list(values.values()), color=ORANGE, height=0.66)
    for place, value in enumerate(values.values()):
        axes.annotate(f"{value:,}", (value, place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(values)), [_short(name.replace("_", " ")) for name in values])
    axes.set_xlim(0, max(values.values()) * 1.15)
    _bars(axes)
    return _svg(figure)


@_styled
def distance(auc: float) -> str:
    """Draw where an AUC lies between alike and told apart every time."""
    figure, axes = _axes(6, 1.15)
    zones = ((0.5, 0.6, "alike"), (0.6, 0.75, "somewhat unlike"), (0.75, 0.9, "unlike"), (0.9, 1.0, "far"))
    for (start, end, name), colour in zip(zones, ("#cfe5d8", "#eee7c8", "#f3d9bd", "#eec3b8"), strict=True):
        axes.barh(0, end - start, left=start, color=colour, height=1)
        axes.text((start + end) / 2, 0, name, ha="center", va="center", color=QUIET)
    axes.plot([min(max(auc, 0.5), 1)] * 2, [-0.5, 0.5], color=INK, linewidth=3, solid_capstyle="butt")
    axes.set_yticks([])
    axes.set_xticks([0.5, 0.6, 0.75, 0.9, 1.0])
    axes.set_xlim(0.495, 1.005)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel(f"AUC of telling training data from traffic: {auc:.2f}")
    return _svg(figure)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _bars(axes: Axes) -> None:
    """Leave out what horizontal bars with their numbers do not need."""
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)


def _name(side: str) -> str:
    return side.replace("_", " ")


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
