"""What the losses of a training say, in plain words: overfitting, divergence, a flat curve.

A loss is compared by block means (at most 12), so that steps of one batch weigh little, and a rise counts
only where it passes both what matters and what noise makes. Methods:

- The turn of the validation loss is the generalisation loss of Prechelt 1998, "Early stopping - but when?"
  (LNCS 1524:55-69): how far the end lies above the best, relative to the best.
- Noise is taken from second differences, which a trend does not reach (Gasser, Sroka and
  Jennen-Steinmetz 1986, Biometrika 73:625-633), by their median.
- Whether a loss falls at all is the rank test of Mann 1945, "Nonparametric tests against trend",
  Econometrica 13:245-259, which a few wild steps do not move.
- A spike stands out from the running median (Hampel's identifier; Davies and Gather 1993, JASA 88:782-792).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from retune.records import Curve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Kind = Literal["overfitting", "divergence", "spikes", "flat", "still_falling", "unseen", "too_few", "fine"]
ALARMS: frozenset[Kind] = frozenset({"overfitting", "divergence", "spikes", "flat"})
"""What a person should look at."""
VALIDATION = ("full_eval_loss", "eval_loss")
"""Names of the validation loss; of those with enough points the first counts."""

LEAST_TRAINING, LEAST_VALIDATION = 8, 3
"""Fewer points say nothing."""
_NOISE_TOLD = 5
_BLOCKS = 12
_ALPHA = 0.01
_NOISES = 4.5
_SPIKE_NOISES, _SPIKE_RATIO, _SPIKE_WINDOW = 7.0, 2.0, 3
_LEAST_FALL, _MOST_UNSEEN = 0.02, 0.2
_OVERFIT, _DIVERGED = 0.05, 0.2
_OF_ALL_GAINED = 0.02
Points = Sequence[tuple[int, float]]


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
    def percent(self) -> str:
        return f"{(self.end / self.best - 1) * 100:.0f}%" if self.best > 0 else f"{self.end - self.best:.4g}"


def diagnose(curves: Sequence[Curve], keeps_best: bool | None = None) -> list[Finding]:
    """Say what the curves of a training show, the gravest first.

    Healthy curves (a loss that decays to a floor) raise a false alarm in under 1 of 100, measured over
    9,600 curves: 8 to 800 steps whose losses vary by 2% to 50% each, validated 3 to 12 times on all rows
    (0% to 3%) or at each step on a batch (10% to 40%); see the tests.

    Args:
        curves: A model's; `loss`, `eval_loss` and `full_eval_loss` are looked at.
        keeps_best: Whether the model is the checkpoint with the best validation loss; None: not known.

    Returns:
        At least one finding.
    """
    named = {curve.name: curve.points for curve in curves}
    training = named.get("loss", ())
    validation = _validation(named)
    broken = _broken({"training": training, "validation": validation})
    training, validation = _finite(training), _finite(validation)
    if broken:
        return [broken]
    if len(training) < LEAST_TRAINING and len(validation) < LEAST_VALIDATION:
        return [_too_few(training, validation)]
    found = [*_diverged(training), *_spikes(training)]
    if not any(finding.kind == "divergence" for finding in found):
        found += [*_overfitting(training, validation, keeps_best), *_flat(training)]
        if not found:
            found += _still_falling(training, validation)
    if len(validation) < LEAST_VALIDATION:
        found.append(_unseen(validation))
    if all(finding.kind == "unseen" for finding in found):
        found.insert(0, _fine(training, validation))
    return found


def headline(curves: Sequence[Curve]) -> str:
    """Return one line for a log: the losses, and what is wrong with them; empty where there are none."""
    named = {curve.name: curve.points for curve in curves}
    parts = []
    if training := _finite(named.get("loss", ())):
        parts.append(f"loss {training[0][1]:.4f} to {training[-1][1]:.4f}")
    if validation := _finite(_validation(named)):
        step, best = min(validation, key=lambda point: point[1])
        parts.append(f"validation loss {validation[-1][1]:.4f}, best {best:.4f} at step {step}")
    parts += [finding.sentence for finding in diagnose(curves) if finding.kind in ALARMS]
    return "; ".join(parts)


def turning_point(findings: Sequence[Finding]) -> int | None:
    """Return the step of the best validation loss where the training overfits, else None."""
    return next((finding.step for finding in findings if finding.kind == "overfitting"), None)


def _validation(named: dict[str, tuple[tuple[int, float], ...]]) -> tuple[tuple[int, float], ...]:
    measured = [named[name] for name in VALIDATION if name in named]
    enough = [points for points in measured if len(points) >= LEAST_VALIDATION]
    return (*enough, *measured, ())[0]


def _finite(points: Points) -> tuple[tuple[int, float], ...]:
    return tuple((step, value) for step, value in points if math.isfinite(value))


def _broken(losses: dict[str, tuple[tuple[int, float], ...]]) -> Finding | None:
    for name, points in losses.items():
        for step, value in points:
            if not math.isfinite(value):
                return Finding(
                    "divergence",
                    f"The {name} loss became {value} at step {step}.",
                    "Lower the learning rate, or look for damaged rows.",
                    step,
                )
    return None


def _diverged(training: Points) -> list[Finding]:
    turn = _turn(training, _DIVERGED) if len(training) >= LEAST_TRAINING else None
    if turn is None:
        return []
    first = _blocks(training)[0][1]
    worse = ", worse than at the start" if turn.end > first else ""
    return [
        Finding(
            "divergence",
            f"The training loss rose from {turn.best:.4f} at step {turn.step} to {turn.end:.4f} at the end"
            f" (by {turn.percent}{worse}).",
            "Lower the learning rate, or make the batches larger.",
            turn.step,
        )
    ]


def _spikes(training: Points) -> list[Finding]:
    """Find single steps far above those around them; the ends are not told from a fast fall or a rise."""
    import numpy as np

    values = np.array([value for _, value in training])
    reach = _SPIKE_WINDOW
    if len(values) < LEAST_TRAINING + 2 * reach or values.min() <= 0:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(np.log(values), 2 * reach + 1)
    apart = windows[:, reach] - np.median(windows, axis=1)
    noise = _deviation(np.abs(apart))
    high = np.flatnonzero(apart > max(math.log(_SPIKE_RATIO), _SPIKE_NOISES * noise)) + reach
    if not len(high):
        return []
    step, value = max((training[place] for place in high), key=lambda point: point[1])
    return [
        Finding(
            "spikes",
            f"The training loss jumped {len(high)} times to more than {_SPIKE_RATIO:g} times its level, up to"
            f" {value:.4f} at step {step}, and came back.",
            "Look at the rows of such a step (very long or damaged ones), or lower the learning rate.",
            step,
        )
    ]


def _overfitting(training: Points, validation: Points, keeps_best: bool | None) -> list[Finding]:
    gained = max((value for _, value in _blocks(training)), default=0.0)
    turn = _turn(validation, _OVERFIT, gained) if len(validation) >= LEAST_VALIDATION else None
    if turn is None:
        return []
    after = [value for step, value in training if step >= turn.step]
    before = [value for step, value in training if step <= turn.step]
    went = f", while the training loss went from {before[-1]:.4f} to {after[-1]:.4f}" if before and after else ""
    action = {
        True: f"The model is the checkpoint of the best validation loss, so it did not suffer; fewer epochs"
        f" give the same for less, more rows more. (Best: step {turn.step}.)",
        False: "The model is the last checkpoint: take `checkpoint: best`, fewer epochs, or more rows.",
        None: "Train for fewer epochs, or on more rows.",
    }[keeps_best]
    return [
        Finding(
            "overfitting",
            f"Overfitting: the validation loss was best at step {turn.step} ({turn.best:.4f}) and rose by"
            f" {turn.percent} to {turn.end:.4f}{went}.",
            action,
            turn.step,
        )
    ]


def _flat(training: Points) -> list[Finding]:
    if len(training) < LEAST_TRAINING:
        return []
    blocks = _blocks(training)
    first, last = blocks[0][1], blocks[-max(2, len(blocks) // 3) :]
    fall = first - sum(value for _, value in last) / len(last)
    most = fall + _NOISES / 2 * _noise(training, len(blocks))
    if most >= (_MOST_UNSEEN if not _falls(training) else _LEAST_FALL) * abs(first):
        return []
    return [
        Finding(
            "flat",
            f"The training loss hardly fell: from {first:.4f} to {blocks[-1][1]:.4f} in"
            f" {training[-1][0]} steps.",
            "Raise the learning rate; if that changes nothing, the base model knows the answers already, or the"
            " rows do not determine them.",
            training[0][0],
        )
    ]


def _still_falling(training: Points, validation: Points) -> list[Finding]:
    """Look at the last third, or at the last two validations where there are few."""
    name, points = ("validation", validation) if len(validation) >= LEAST_VALIDATION else ("training", training)
    blocks = _blocks(points)
    tail = blocks[-max(2, len(blocks) // 3) :]
    fall = tail[0][1] - tail[-1][1]
    least = max(_OVERFIT * abs(tail[-1][1]), _NOISES * _noise(points, len(blocks)))
    if fall <= least or tail[-1][1] > min(value for _, value in blocks):
        return []
    return [
        Finding(
            "still_falling",
            f"The {name} loss was still falling when the training ended: from {tail[0][1]:.4f} at step"
            f" {tail[0][0]} to {tail[-1][1]:.4f}.",
            "More epochs may help.",
            tail[0][0],
        )
    ]


def _unseen(validation: Points) -> Finding:
    return Finding(
        "unseen",
        f"Overfitting cannot be seen: the validation loss was measured {len(validation)} times, and it takes"
        f" {LEAST_VALIDATION}.",
        "More epochs give more measurements." if validation else "",
    )


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


def _turn(points: Points, least: float, gained_from: float = 0.0) -> _Turn | None:
    """Return where a loss was best, if its end lies clearly above; twice as high where points are few."""
    blocks = _blocks(points)
    place = min(range(len(blocks)), key=lambda number: blocks[number][1])
    step, best = blocks[place]
    after = [value for _, value in blocks[place + 1 :]][-2:]
    if not after:
        return None
    end = sum(after) / len(after)
    gained = max(gained_from, blocks[0][1]) - best
    sure = len(after) > 1 and len(points) >= _NOISE_TOLD
    needed = max((1 if sure else 2) * least * abs(best), _OF_ALL_GAINED * gained)
    needed = max(needed, _NOISES * _noise(points, len(blocks)))
    return _Turn(step, best, end) if end - best > needed else None


def _blocks(points: Points) -> list[tuple[int, float]]:
    """Return at most 12 points: each the mean of as many steps, at the middle one."""
    count = min(_BLOCKS, len(points))
    edges = [round(number * len(points) / count) for number in range(count + 1)] if count else []
    found = []
    for low, high in zip(edges, edges[1:], strict=False):
        part = points[low:high]
        found.append((part[len(part) // 2][0], sum(value for _, value in part) / len(part)))
    return found


def _noise(points: Points, blocks: int) -> float:
    """Return the standard deviation of a block's mean; 0 where the points are too few to tell."""
    import numpy as np

    if len(points) < _NOISE_TOLD:
        return 0.0
    bends = np.abs(np.diff([value for _, value in points], 2))
    return _deviation(bends) / math.sqrt(6 * len(points) / blocks)


def _deviation(apart: npt.NDArray[np.float64]) -> float:
    """Return a standard deviation by the median of absolute deviations; more where these are few."""
    import numpy as np

    return (1 + 5 / len(apart)) * 1.4826 * float(np.median(apart))


def _falls(points: Points) -> bool:
    from scipy.stats import kendalltau

    values = [value for _, value in points]
    return len(set(values)) > 1 and bool(
        kendalltau(range(len(values)), values, alternative="less").pvalue < _ALPHA
    )
