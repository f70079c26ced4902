"""Figures as the gate's sentences write them."""

from __future__ import annotations

from retune.records import Verdict


def points(share: float) -> str:
    """Return a share of 1 in points of 100, such as `6.0`."""
    return f"{_hundredth(share):.1f}"


def signed(share: float) -> str:
    """Return a difference in points with its sign, such as `+6.0`."""
    return f"{_hundredth(share):+.1f}"


def span(low: float, high: float) -> str:
    """Return the two ends of a difference, such as `[+1.2, +9.8]`."""
    return f"[{signed(low)}, {signed(high)}]"


def counted(number: int, word: str) -> str:
    """Return a number with its noun, such as `1 slice` or `77 slices`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def passes(good: bool) -> Verdict:
    """Return the verdict of what either holds or is not settled."""
    return Verdict.PROMOTE if good else Verdict.INCONCLUSIVE


def _hundredth(share: float) -> float:
    # A loss that rounds to nothing is written 0.0, not -0.0.
    return round(100 * share, 1) or 0.0
