"""Plots as inline SVG, so that a page needs neither scripts nor other files."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ParamSpec

from retune.records import Curve, EvalReport, Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _BLUE, _ORANGE, _RED = "#1c2733", "#2563a8", "#c2570c", "#b3261e"
_LOSSES = {
    "loss": "training",
    "eval_loss": "validation",
    "full_eval_loss": "validation, all rows",
}
_MOST_MARKED = 60
_MOST_NAMED_LABELS = 20
_P = ParamSpec("_P")


def _styled(draw: Callable[_P, str]) -> Callable[_P, str]:
    """Draw the same bytes for the same figures, and a label's `$` as it stands."""

    @functools.wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> str:
        from matplotlib import rc_context

        with rc_context({"svg.hashsalt": "retune", "svg.fonttype": "none", "text.parse_math": False}):
            return draw(*args, **kwargs)

    return styled


@_styled
def forest(reports: Sequence[EvalReport]) -> str:
    """Draw each contender's metrics with their intervals."""
    from matplotlib.figure import Figure

    names = [report.contender.name for report in reports]
    figure = Figure(figsize=(6, 1.1 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    for offset, (metric, colour) in enumerate(zip(reports[0].metrics, (_BLUE, _ORANGE), strict=False)):
        values = [report.metrics[metric] for report in reports]
        heights = [row + 0.12 - 0.24 * offset for row in range(len(names))]
        errors = [
            [value.value - value.low for value in values],
            [value.high - value.value for value in values],
        ]
        axes.errorbar(
            [value.value for value in values],
            heights,
            xerr=[[max(0.0, error) for error in side] for side in errors],
            fmt="o",
            color=colour,
            capsize=3,
            label=metric,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="best", frameon=False)
    axes.set_title("Held-out set, with intervals", loc="left", color=_INK)
    return _svg(figure)


@_styled
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
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    axes = figure.subplots()
    for curve, colour in zip(losses, (_BLUE, _ORANGE, _INK), strict=False):
        name = _LOSSES.get(curve.name, curve.name)
        marker = "o" if len(curve.points) <= _MOST_MARKED else ""
        axes.plot(*zip(*curve.points, strict=True), color=colour, label=name, marker=marker, markersize=3)
    if turn is not None:
        axes.axvline(
            turn, color=_RED, linestyle="--", linewidth=1, label=f"best validation loss, step {turn}"
        )
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.set_title("Training", loc="left", color=_INK)
    return _svg(figure)


@_styled
def confusion(outcomes: Sequence[Outcome], labels: Sequence[str]) -> str:
    """Draw expected against predicted label; the last column is answers that name no label."""
    import numpy as np
    from matplotlib.figure import Figure

    names = list(labels)
    index = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names) + 1))
    for outcome in outcomes:
        if outcome.expected in index:
            counts[index[outcome.expected], index.get(outcome.predicted, len(names))] += 1
    side = min(9.0, 2.5 + 0.4 * len(names))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    named = len(names) <= _MOST_NAMED_LABELS
    size = None if named else 5
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xticks(range(len(names) + 1), [*names, "(none)"], rotation=90, fontsize=size)
    if named:
        for row, column in np.argwhere(counts > 0):
            count = counts[row, column]
            colour = "white" if count > counts.max() / 2 else _INK
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel("answered")
    axes.set_ylabel("expected")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
