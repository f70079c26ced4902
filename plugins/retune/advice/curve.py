"""What the learning curve of a run says: whether more rows would help, and what the next point costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retune.records.advice import AdviceVerdict, Finding
from retune.spec import PipelineSpec
from retune.spec.budget import dollars

if TYPE_CHECKING:
    from retune.stats.learning_curve import Point

WORTH = 0.01
"""Gain from twice the rows that is worth collecting them."""


def curve_finding(points: Sequence[Point], usd_per_example: float | None, spec: PipelineSpec) -> Finding:
    """Say what twice the rows would bring, and what a training on them would cost.

    Args:
        points: One training each, on parts of the rows and on all of them, judged on the validation side.
        usd_per_example: Price of a training by the rows that it is on, in US dollars; None: not known.
        spec: The frozen spec: the metric's name, the confidence and the seed of the band.

    Returns:
        A finding that speaks for `collect_more_data` where even the band's low end is worth it. Where no
        curve can be laid through the points it has no value and says why.
    """
    from retune.stats.learning_curve import fit

    try:
        curve = fit(points, spec.gate.confidence, spec.seed)
    except ValueError as error:
        said = f"No learning curve can be laid: {error}."
        return Finding(what="learning_curve", value=None, sentence=said)
    most = max(points, key=lambda point: point.examples)
    twice = 2 * most.examples
    gain, score = curve.gain(most.examples), curve.score(twice)
    means, action, speaks_for = _meaning(gain.low, gain.high)
    cost = (
        "nobody knows what that training would cost"
        if usd_per_example is None
        else f"that training would cost about {dollars(twice * usd_per_example)}"
    )
    return Finding(
        what="learning_curve",
        value=gain.value,
        threshold=WORTH,
        low=gain.low,
        high=gain.high,
        sentence=f"With {twice:,} rows instead of {most.examples:,} {spec.gate.metric} would be about"
        f" {score.value:.3f} ({score.low:.3f} to {score.high:.3f}), {gain.value:+.3f} ({gain.low:+.3f} to"
        f" {gain.high:+.3f}): {means}; {cost}.",
        action=action,
        speaks_for=speaks_for,
    )


def _meaning(low: float, high: float) -> tuple[str, str, AdviceVerdict | None]:
    if low >= WORTH:
        return "more rows help", "collect more rows", "collect_more_data"
    if high < WORTH:
        return "more rows of this kind help little", "look at labels, recipe and base model instead", None
    return "whether more rows help cannot be told", "", None
