"""What the losses of a training say, in plain words: overfitting, divergence, spikes, a flat curve.

The turn of the validation loss is the generalisation loss of Prechelt 1998, "Early stopping - but when?"
(LNCS 1524:55-69): how far the end lies above the best. A spike stands out from the running median (Davies
and Gather 1993, "The identification of multiple outliers", JASA 88:782-792).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retune.records import Curve
from retune.stats.loss_noise import BLOCKS, Points, blocks, deviation, falls, scatter, unrest

Kind = Literal["overfitting", "divergence", "spikes", "flat", "still_falling", "unseen", "too_few", "fine"]
ALARMS: frozenset[Kind] = frozenset({"overfitting", "divergence", "spikes", "flat"})
"""What a person should look at."""
VALIDATION = ("full_eval_loss", "eval_loss")
"""Names of the validation loss; of those with enough points the first counts."""
LEAST_TRAINING, LEAST_VALIDATION = 8, 3
"""Fewer points say nothing."""

_NOISES = 4.5
_TURNED, _DIVERGED, _OF_ALL_GAINED = 0.1, 0.2, 0.02
_NO_FALL, _UNTOLD_FALL = 0.02, 0.2
_SPIKE_NOISES, _SPIKE_RATIO, _SPIKE_REACH = 7.0, 2.0, 3


@dataclass(frozen=True)
class Finding:
    """One thing that the curves say."""

    kind: Kind
    sentence: str
    """For people, with the numbers."""
    action: str = ""
    """What to do about it; empty where nothing is."""
    step: int | None = None
    """Where it began."""


@dataclass(frozen=True)
class _Turn:
    """A loss that was better before."""

    step: int
    best: float
    end: float

    @property
    def rise(self) -> str:
        less = self.end - self.best
        return f"{less / self.best:.0%}" if self.best > 0 else f"{less:.4g}"


def diagnose(curves: Sequence[Curve], keeps_best: bool | None = None) -> list[Finding]:
    """Say what the curves of a training show, the gravest first.

    A healthy training (a loss that decays to its floor) raises a false alarm in 0.6% of 10,800 simulated
    curves: 8 to 800 steps whose losses vary by 2% to 50% each, validated 3 to 12 times on all rows (0% to
    3%) or at each step on a batch (10% to 40%). Of trainings whose validation loss ends 20% above its best
    it names 9 in 10 where all rows are validated, and fewer the more batches vary.

    Args:
        curves: A model's; `loss`, `eval_loss` and `full_eval_loss` are looked at.
        keeps_best: Whether the model is the checkpoint with the best validation loss; None: not known.

    Returns:
        At least one finding.
    """
    named = {curve.name: curve.points for curve in curves}
    raw = {"training": named.get("loss", ()), "validation": _validation(named)}
    if broken := _broken(raw):
        return [broken]
    training, validation = raw["training"], raw["validation"]
    if len(training) < LEAST_TRAINING and len(validation) < LEAST_VALIDATION:
        return [_too_few(training, validation)]
    found = [*_diverged(training), *_spikes(training)]
    if not any(finding.kind == "divergence" for finding in found):
        found += [*_overfitting(training, validation, keeps_best), *_flat(training)]
    if not found:
        found += _still_falling(training, validation) or [_fine(training, validation)]
    return found + _unseen(validation)


def headline(curves: Sequence[Curve]) -> str:
    """Return one line for a log: the losses, and what is wrong with them; empty where there are none."""
    named = {curve.name: curve.points for curve in curves}
    parts = []
    if training := named.get("loss", ()):
        parts.append(f"loss {training[0][1]:.4f} to {training[-1][1]:.4f}")
    if validation := _validation(named):
        step, best = min(validation, key=lambda point: point[1])
        parts.append(f"validation loss {validation[-1][1]:.4f}, best {best:.4f} at step {step}")
    parts += [finding.sentence.rstrip(".") for finding in diagnose(curves) if finding.kind in ALARMS]
    return "; ".join(parts)


def turning_point(findings: Sequence[Finding]) -> int | None:
    """Return the step of the best validation loss where the training overfits, else None."""
    return next((finding.step for finding in findings if finding.kind == "overfitting"), None)


def _validation(named: Mapping[str, tuple[tuple[int, float], ...]]) -> tuple[tuple[int, float], ...]:
    measured = [named[name] for name in VALIDATION if name in named]
    enough = [points for points in measured if len(points) >= LEAST_VALIDATION]
    return (*enough, *measured, ())[0]


def _broken(losses: Mapping[str, Points]) -> Finding | None:
    for name, points in losses.items():
        for step, value in points:
            if not math.isfinite(value):
                return Finding(
                    "divergence",
                    f"Divergence: the {name} loss became {value} at step {step}.",
                    "Lower the learning rate, or look for damaged rows.",
                    step,
                )
    return None


def _diverged(training: Points) -> list[Finding]:
    turn = None
    if len(training) >= LEAST_TRAINING:
        turn = _turn(training, _DIVERGED, scatter(training))
    if turn is None:
        return []
    worse = ", above where it began" if turn.end > blocks(training)[0][1] else ""
    return [
        Finding(
            "divergence",
            f"Divergence: the training loss rose by {turn.rise}, from {turn.best:.4f} at step {turn.step} to"
            f" {turn.end:.4f} at the end{worse}.",
            "Lower the learning rate, or make the batches larger.",
            turn.step,
        )
    ]


def _spikes(training: Points) -> list[Finding]:
    """Find steps far above those around them; at the ends they are not told from a fast fall or a rise."""
    import numpy as np

    values = np.array([value for _, value in training])
    if len(values) < LEAST_TRAINING + 2 * _SPIKE_REACH or values.min() <= 0:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(np.log(values), 2 * _SPIKE_REACH + 1)
    apart = windows[:, _SPIKE_REACH] - np.median(windows, axis=1)
    least = max(math.log(_SPIKE_RATIO), _SPIKE_NOISES * deviation(np.abs(apart)))
    high = [training[place + _SPIKE_REACH] for place in np.flatnonzero(apart > least).tolist()]
    if not high:
        return []
    step, value = max(high, key=lambda point: point[1])
    times = "once" if len(high) == 1 else f"{len(high)} times"
    return [
        Finding(
            "spikes",
            f"Spikes: the training loss jumped {times} to more than {_SPIKE_RATIO:g} times its level and came"
            f" back; the highest is {value:.4f} at step {step}.",
            "Look for damaged or very long rows; a lower learning rate also helps.",
            step,
        )
    ]


def _overfitting(training: Points, validation: Points, keeps_best: bool | None) -> list[Finding]:
    if len(validation) < LEAST_VALIDATION:
        return []
    levels = blocks(training)
    start = max((value for _, value in levels), default=0.0)
    turn = _turn(validation, _TURNED, _noise(validation, training), start)
    if turn is None:
        return []
    went = ""
    if levels:
        then = min(levels, key=lambda level: abs(level[0] - turn.step))[1]
        went = f", while the training loss went from {then:.4f} to {levels[-1][1]:.4f}"
    action = {
        True: "The checkpoint with the best validation loss was kept, so the model did not suffer;"
        " fewer epochs take less time, and more rows may make it better.",
        False: "The last checkpoint was kept: take `checkpoint: best`, fewer epochs, or more rows.",
        None: "Train for fewer epochs, or on more rows.",
    }[keeps_best]
    return [
        Finding(
            "overfitting",
            f"Overfitting: the validation loss was best at step {turn.step} ({turn.best:.4f}) and rose by"
            f" {turn.rise} to {turn.end:.4f}{went}.",
            action,
            turn.step,
        )
    ]


def _flat(training: Points) -> list[Finding]:
    if len(training) < LEAST_TRAINING:
        return []
    levels = blocks(training)
    tail = levels[-max(2, len(levels) // 3) :]
    fall = levels[0][1] - sum(value for _, value in tail) / len(tail)
    # What may have fallen unseen, at half of what counts as shown: about one in a hundred.
    most = fall + _NOISES / 2 * scatter(training)
    if most >= (_NO_FALL if falls(training) else _UNTOLD_FALL) * abs(levels[0][1]):
        return []
    return [
        Finding(
            "flat",
            f"Flat: the training loss hardly fell, from {levels[0][1]:.4f} to {levels[-1][1]:.4f} in"
            f" {training[-1][0]} steps.",
            "Raise the learning rate; if that changes nothing, the base model knows the answers already, or"
            " the rows do not determine them.",
        )
    ]


def _still_falling(training: Points, validation: Points) -> list[Finding]:
    name, points = "validation", validation
    if len(validation) < LEAST_VALIDATION:
        name, points = "training", training
    levels = blocks(points)
    tail = levels[-max(2, len(levels) // 3) :]
    (since, before), (_, last) = tail[0], tail[-1]
    if last > min(value for _, value in levels):
        return []
    if before - last <= max(_TURNED * abs(last), _NOISES * _noise(points, training)):
        return []
    return [
        Finding(
            "still_falling",
            f"The {name} loss was still falling when the training ended: from {before:.4f} at step {since} to"
            f" {last:.4f}.",
            "More epochs may help.",
            since,
        )
    ]


def _unseen(validation: Points) -> list[Finding]:
    if len(validation) >= LEAST_VALIDATION:
        return []
    times = {0: "was not measured", 1: "was measured once"}.get(len(validation), "was measured twice")
    return [
        Finding(
            "unseen", f"Overfitting cannot be seen: the validation loss {times}, it takes {LEAST_VALIDATION}."
        )
    ]


def _too_few(training: Points, validation: Points) -> Finding:
    return Finding(
        "too_few",
        f"Too few points to say anything: {len(training)} of the training loss and {len(validation)} of the"
        f" validation loss; it takes {LEAST_TRAINING} or {LEAST_VALIDATION}.",
    )


def _fine(training: Points, validation: Points) -> Finding:
    parts = [
        f"the {name} loss went from {points[0][1]:.4f} to {points[-1][1]:.4f}"
        for name, points in (("training", training), ("validation", validation))
        if points
    ]
    return Finding("fine", f"Nothing stands out: {' and '.join(parts)}.")


def _turn(points: Points, least: float, noise: float, start: float = 0.0) -> _Turn | None:
    """Return where a loss was best, if its end (of two blocks) lies clearly above.

    Args:
        points: The loss.
        least: The least rise that matters, as a share of the best.
        noise: Standard deviation of a block.
        start: Where the loss began, if that is not its first point.
    """
    levels = blocks(points)
    place = min(range(len(levels)), key=lambda number: levels[number][1])
    step, best = levels[place]
    after = [value for _, value in levels[place + 1 :]][-2:]
    if not after:
        return None
    end = sum(after) / len(after)
    gained = max(start, levels[0][1]) - best
    needed = max(least * abs(best), _OF_ALL_GAINED * gained, _NOISES * noise)
    return _Turn(step, best, end) if end - best > needed else None


def _noise(points: Points, training: Points) -> float:
    """Return the noise of a block: what is measured as often as the training loss is of batches."""
    few = len(points) <= BLOCKS and not 0 < len(training) <= len(points)
    return unrest(points) if few else scatter(points)
