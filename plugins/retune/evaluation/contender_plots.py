"""Plots of contenders: all against each other, by slice, and label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from retune.evaluation.comparison import Difference, SliceScore
from retune.evaluation.differences import FAILED, NO_LABEL, said
from retune.evaluation.plots import BLUE, INK, ORANGE, QUIET, WIDTH, short, styled, svg
from retune.records import MetricValue, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SLICES = 40
_MOST_COUNTED_LABELS = 30


@styled
def forest(values: Mapping[str, MetricValue], gains: Sequence[Difference], metric: str, subject: str) -> str:
    """Draw every contender's figure with its interval, and beside it what the subject gains over it.

    Args:
        values: Contender name -> the metric that decides, from top to bottom.
        gains: The subject's differences against the others.
        metric: What the figure is called.
        subject: Whom the differences are of.
    """
    from matplotlib.figure import Figure

    names = [name for name in values if isfinite(values[name].value)][::-1]
    if not names:
        return ""
    figure = Figure(figsize=(WIDTH, 0.95 + 0.42 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True) if gains else (figure.subplots(), None)
    for row, name in enumerate(names):
        value = values[name]
        colour = BLUE if name == subject else QUIET
        _interval(left, row, value.value, value.low, value.high, colour)
    left.set_yticks(range(len(names)), [short(name) for name in names])
    left.set_ylim(-0.6, len(names) - 0.4)
    left.set_title(f"{short(metric)}, with its interval", loc="left", fontsize=9)
    left.locator_params(axis="x", nbins=6)
    left.grid(axis="x", alpha=0.3)
    if right is not None:
        by_name = {gain.name: gain for gain in gains}
        for row, name in enumerate(names):
            if name in by_name:
                gain = by_name[name]
                middle, low, high = 100 * gain.value, 100 * gain.low, 100 * gain.high
                _interval(right, row, middle, low, high, ORANGE if low <= 0 <= high else BLUE)
        right.axvline(0, color=INK, linewidth=1)
        right.tick_params(axis="y", length=0)
        right.set_title(f"what {short(subject)} gains over it, points", loc="left", fontsize=9)
        right.grid(axis="x", alpha=0.3)
    return svg(figure)


def _interval(axes: Axes, row: int, value: float, low: float, high: float, colour: str) -> None:
    sides = [[max(0.0, value - low)], [max(0.0, high - value)]]
    if not all(isfinite(side) for (side,) in sides):
        sides = [[0.0], [0.0]]
    axes.errorbar([value], [row], xerr=sides, fmt="o", color=colour, capsize=3, markersize=5)


@styled
def slices(parts: Sequence[SliceScore], subject: str, rival: str) -> str:
    """Draw subject and rival on each part of a set; empty text where there are fewer than two.

    Args:
        parts: Of one column, the largest loss first; the first ones are drawn.
        subject: Whose filled dot it is.
        rival: Whose hollow dot; empty: the subject stands alone.
    """
    from matplotlib.figure import Figure

    if len(parts) < 2:
        return ""
    drawn = list(parts[:MOST_SLICES])[::-1]
    figure = Figure(figsize=(WIDTH * 0.8, 1.0 + 0.2 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for row, part in enumerate(drawn):
        alpha = 1.0 if part.judged else 0.4
        colour = BLUE if part.gain is None or part.gain >= 0 else ORANGE
        if part.theirs is not None:
            axes.plot([part.theirs, part.mine], [row, row], color=colour, alpha=alpha, linewidth=1.5)
            axes.plot([part.theirs], [row], "o", markerfacecolor="white", color=QUIET, alpha=alpha, ms=5)
        axes.plot([part.mine], [row], "o", color=colour, alpha=alpha, ms=5)
    axes.set_yticks(range(len(drawn)), [f"{short(part.value)}  n={part.n}" for part in drawn], fontsize=8)
    axes.set_ylim(-0.7, len(drawn) - 0.3)
    axes.set_xlim(-0.03, 1.03)
    axes.grid(axis="x", alpha=0.3)
    title = f"{short(subject)} (filled) and {short(rival)} (hollow)" if rival else short(subject)
    axes.set_title(title, loc="left", fontsize=9)
    return svg(figure)


@styled
def confusion(outcomes: Sequence[Outcome], labels: Sequence[str]) -> str:
    """Draw expected against answered label; the last column is answers that name no label.

    Right answers are blue and wrong ones orange, as shares of their row.
    """
    import numpy as np
    from matplotlib.figure import Figure

    counts = _counts(outcomes, labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.arange(len(labels))[:, None] == np.arange(len(labels) + 1)
    side = min(10.5, 2.2 + 0.34 * len(labels)) if len(labels) <= _MOST_COUNTED_LABELS else 11.5
    figure = Figure(figsize=(min(side + 0.5, 11.5), side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.where(right, shares, np.nan), cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    # A wrong share of a third is already much: the scale ends early, so that single ones are seen.
    wrong = np.where(~right & (counts > 0), shares, np.nan)
    axes.imshow(wrong, cmap="Oranges", vmin=-0.1, vmax=0.6, aspect="auto")
    many = len(labels) > _MOST_COUNTED_LABELS
    size = 6.5 if many else 8
    axes.set_yticks(range(len(labels)), [short(label) for label in labels], fontsize=size)
    axes.set_xticks(
        range(len(labels) + 1), [*(short(label) for label in labels), "(none)"], rotation=90, fontsize=size
    )
    axes.set_xticks(np.arange(len(labels)) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#e6eaef", linewidth=0.4)
    axes.tick_params(which="both", length=0)
    for row, column in np.argwhere(counts > 0):
        if not (many and row == column):
            dark = shares[row, column] > (0.7 if row == column else 0.35)
            colour = "white" if dark else INK
            text = f"{counts[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=5 if many else 8)
    axes.set_xlabel("answered")
    axes.set_ylabel("expected")
    return svg(figure)


def _counts(outcomes: Sequence[Outcome], labels: Sequence[str]) -> Any:
    import numpy as np

    index = {name: number for number, name in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1))
    for outcome in outcomes:
        if outcome.expected in index:
            answered = said(outcome)
            column = len(labels) if answered in (NO_LABEL, FAILED) else index.get(answered, len(labels))
            counts[index[outcome.expected], column] += 1
    return counts
