"""Which side of the dataset an example is on, for ever."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from retune.spec import SplitShares
from retune.text.conversations import Conversation

# In a tie the first wins: a label's second row goes to the held-out set.
SIDES = ("held_out", "validation", "train")


def assign_sides(
    rows: Iterable[Conversation], earlier: Mapping[str, str], shares: SplitShares, seed: int
) -> dict[str, str]:
    """Put every example on a side, each label in the given shares.

    Within a label the new examples come in the order of a seeded hash, and each goes to the side
    that lacks most. So a row's side does not depend on the order of the source files, and rows
    that come later never move an earlier one.

    Args:
        rows: All examples of the dataset.
        earlier: Fingerprint -> side, as assigned before; these stay.
        shares: The wished shares; met within one row a label where nothing was assigned before.
        seed: Another seed is another order.

    Returns:
        Fingerprint -> side for all of `rows`.
    """
    wished = {
        "train": 1 - shares.validation - shares.held_out,
        "validation": shares.validation,
        "held_out": shares.held_out,
    }
    by_label: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_label[row.completion].append(row.fingerprint)
    sides: dict[str, str] = {}
    for names in by_label.values():
        counts = dict.fromkeys(SIDES, 0)
        for name in (name for name in names if name in earlier):
            sides[name] = earlier[name]
            counts[earlier[name]] += 1
        new = [name for name in names if name not in earlier]
        for name in sorted(new, key=lambda name: _order(seed, name)):
            total = sum(counts.values()) + 1
            # Rounded, or a tie would be decided by the last bit of a float.
            side = max(SIDES, key=lambda side: round(wished[side] * total - counts[side], 9))
            sides[name] = side
            counts[side] += 1
    return sides


def _order(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
