"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the chance of any false finding stays below the level asked for.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6:65-70. It holds however the tests depend on one another.

    Args:
        p_values: One a test.

    Returns:
        In the same order.

    Raises:
        ValueError: One is not from 0 to 1.
    """
    if wrong := [value for value in p_values if not 0 <= value <= 1]:
        raise ValueError(f"p-values lie between 0 and 1, not {wrong}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
