"""Plots as inline SVG, so that a page needs neither scripts nor other files."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec

from retune.evaluation.evidence import LearningCurve
from retune.records import Curve, Latency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, BLUE, ORANGE, RED = "#1c2733", "#51606f", "#2563a8", "#c2570c", "#b3261e"
WIDTH = 9.0
"""Inches of a plot over the page's whole width."""
_LOSSES = {
    "loss": "training",
    "eval_loss": "validation",
    "full_eval_loss": "validation, all rows",
}
_MOST_MARKED = 60
_MOST_LETTERS = 28
_P = ParamSpec("_P")


def styled(draw: Callable[_P, str]) -> Callable[_P, str]:
    """Draw the same bytes for the same figures, and a label's `$` as it stands."""

    @functools.wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> str:
        from matplotlib import rc_context

        style = rc_context(
            {
                "svg.hashsalt": "retune",
                "svg.fonttype": "none",
                "text.parse_math": False,
                "font.size": 9,
                "text.color": INK,
                "axes.edgecolor": QUIET,
                "axes.labelcolor": QUIET,
                "xtick.color": QUIET,
                "ytick.color": INK,
                "axes.spines.top": False,
                "axes.spines.right": False,
            }
        )
        with style, warnings.catch_warnings():
            # The browser draws the letters: what Matplotlib's own font lacks, such as Japanese, is no matter.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            return draw(*args, **kwargs)

    return drawn


def svg(figure: Figure) -> str:
    """Return a figure as an `<svg>` element."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def short(name: str) -> str:
    """Return a name that fits beside an axis; what tells two apart often stands at its end."""
    name = " ".join(name.split())
    if len(name) <= _MOST_LETTERS:
        return name
    return f"{name[: _MOST_LETTERS // 2]}…{name[-(_MOST_LETTERS // 2 - 1) :]}"


@styled
def curves(lines: Sequence[Curve], turn: int | None = None) -> str:
    """Draw the losses of a training; empty text where there are none.

    Args:
        lines: A model's curves.
        turn: The step from which it overfits, to be marked; None: none is.
    """
    from matplotlib.figure import Figure

    losses = [curve for curve in lines if curve.name.endswith("loss") and curve.points]
    if not losses:
        return ""
    figure = Figure(figsize=(6.5, 2.8), layout="constrained")
    axes = figure.subplots()
    for curve, colour in zip(losses, (BLUE, ORANGE, INK), strict=False):
        name = _LOSSES.get(curve.name, curve.name)
        marker = "o" if len(curve.points) <= _MOST_MARKED else ""
        axes.plot(*zip(*curve.points, strict=True), color=colour, label=name, marker=marker, markersize=3)
    if turn is not None:
        axes.axvline(turn, color=RED, linestyle="--", linewidth=1, label=f"best validation loss, step {turn}")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return svg(figure)


@styled
def latency(measured: Mapping[str, Latency], limit_s: float | None = None) -> str:
    """Draw how long answers take, measured by itself; empty text where it was not.

    Args:
        measured: Contender name -> its latency.
        limit_s: Most that the gate allows at the 95th percentile; None: no limit.
    """
    from matplotlib.figure import Figure

    if not measured:
        return ""
    names = list(measured)[::-1]
    figure = Figure(figsize=(6.5, 0.9 + 0.38 * len(names)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(names))
    found = [measured[name] for name in names]
    axes.scatter([1000 * one.p50_s for one in found], rows, color=BLUE, zorder=3, label="half of them (p50)")
    axes.errorbar(
        [1000 * one.p95_s for one in found],
        rows,
        xerr=[
            [max(0.0, 1000 * (one.p95_s - one.p95_low_s)) for one in found],
            [max(0.0, 1000 * (one.p95_high_s - one.p95_s)) for one in found],
        ],
        fmt="D",
        markersize=5,
        color=ORANGE,
        capsize=3,
        label="95 of 100 (p95), with interval",
    )
    if limit_s is not None:
        axes.axvline(1000 * limit_s, color=RED, linestyle="--", linewidth=1, label="limit")
    axes.set_yticks(rows, [short(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    # Of few answers the interval has no upper end but the time-out, which would press all else to the left.
    far = max([limit_s or 0.0, *(one.p95_s for one in found)])
    reach = min(1.05 * max([far, *(one.p95_high_s for one in found)]), 2.5 * far)
    if reach > 0:
        axes.set_xlim(0, 1000 * reach)
    axes.set_xlabel("milliseconds")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg(figure)


@styled
def learning_curve(curve: LearningCurve, metric: str) -> str:
    """Draw what more training rows bring.

    Args:
        curve: The points, and what was fitted to them.
        metric: What the score is called.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 2.8), layout="constrained")
    axes = figure.subplots()
    if curve.predicted:
        sizes, middle, low, high = zip(*sorted(curve.predicted), strict=True)
        axes.fill_between(sizes, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(sizes, middle, color=BLUE, linewidth=1.2, label="fitted, with its band")
    sizes, scores, _ = zip(*sorted(curve.points), strict=True)
    axes.plot(sizes, scores, "o", color=INK, label="measured")
    axes.set_xlabel("rows to train on")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    return svg(figure)
