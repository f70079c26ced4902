"""Paired differences as independent units: examples, or the groups that they belong to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """Kinds of independent units, in sorted order: right and wrong answers make few of them."""

    sums: Floats
    """Of the differences within one unit."""
    sizes: Floats
    """Examples of one unit."""
    counts: Floats
    """How many such units there are."""

    @property
    def n(self) -> int:
        """Examples."""
        return round(float(self.sizes @ self.counts))

    @property
    def mean(self) -> float:
        """The mean difference of the examples."""
        return float(self.sums @ self.counts) / self.n

    @property
    def largest(self) -> int:
        """Examples of the largest unit."""
        return int(self.sizes.max())

    def mirrored(self) -> Units:
        """Return the units with the two sides exchanged."""
        return Units(-self.sums, self.sizes, self.counts)


def units(differences: Sequence[float], groups: Sequence[str] | None = None) -> Units:
    """Return the differences by independent unit.

    Args:
        differences: From -1 to 1, one an example.
        groups: Each example's group; an empty name: it stands alone. None: all stand alone.

    Raises:
        ValueError: There is no difference, one is out of range or NaN, or the groups are not as many.
    """
    import numpy as np

    sums = group_sums(differences, groups)
    counted = sorted(Counter(sums).items())
    return Units(
        np.array([total for (total, _), _ in counted]),
        np.array([float(size) for (_, size), _ in counted]),
        np.array([float(count) for _, count in counted]),
    )


def group_sums(differences: Sequence[float], groups: Sequence[str] | None = None) -> list[tuple[float, int]]:
    """Return sum and number of the differences of each unit; arguments and errors as of `units`."""
    if len(differences) == 0:
        raise ValueError("no examples to compare")
    if wrong := [value for value in differences if not -1 <= value <= 1]:
        raise ValueError(f"{len(wrong)} differences are not from -1 to 1, such as {wrong[0]}")
    if groups is None:
        return [(float(value), 1) for value in differences]
    if len(groups) != len(differences):
        raise ValueError(f"{len(groups)} groups for {len(differences)} differences: give one for each")
    alone = [(float(value), 1) for value, group in zip(differences, groups, strict=True) if not group]
    members: dict[str, list[float]] = {}
    for value, group in zip(differences, groups, strict=True):
        if group:
            members.setdefault(group, []).append(float(value))
    # The exact sum does not depend on the order.
    return alone + [(math.fsum(values), len(values)) for values in members.values()]
