"""Which side of the dataset an example is on, for ever."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from retune.data.cleaning import seeded
from retune.data.drops import Drops
from retune.spec import SplitShares

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from retune.data.duplicates import Pairs

    Codes = npt.NDArray[np.int64]

# In a tie the first wins: a label's second row goes to the held-out set.
SIDES = ("held_out", "validation", "train")
_NEW = -1


def assign_sides(
    examples: pl.DataFrame,
    links: Pairs,
    earlier: Mapping[str, str],
    shares: SplitShares,
    seed: int,
    drops: Drops,
) -> pl.DataFrame:
    """Put every example on a side, each stratum in about the given shares.

    Linked rows share a side. New rows that are linked to earlier ones join them; where those are on
    two sides, the new rows that touch the less touched side are left out. All other clusters come
    in the order of a seeded hash, the large ones first, or by time where the spec says so, and each
    goes to the side that lacks most. So a row's side does not depend on the order of the source
    files, and rows that come later never move an earlier one.

    Args:
        examples: All examples of the dataset, sorted by id.
        links: Pairs of rows that must share a side.
        earlier: Fingerprint -> side, as assigned before; these stay.
        shares: The wished shares; large clusters and joined ones make them approximate.
        seed: Another seed is another order.
        drops: Takes the rows that bridge two sides.

    Returns:
        The examples that have a side, with it in the column `side`.
    """
    import polars as pl

    code = {side: number for number, side in enumerate(SIDES)}
    names = examples["fingerprint"].to_list()
    sides = np.array([code.get(earlier.get(name, ""), _NEW) for name in names], dtype=np.int64)
    clusters = _clusters(links, sides)
    torn = _torn(links, sides)
    bridges = torn | _join(links, sides, clusters)
    fill = _by_time if shares.by_time else _by_strata
    fill(examples, clusters, sides, shares, seed)
    placed = examples.with_columns(pl.Series("side", SIDES, dtype=pl.String).gather(sides))
    drops.add(placed.filter(bridges).drop("side"), "bridges_split")
    return placed.filter(~bridges) if bridges.any() else placed


def _clusters(links: Pairs, sides: Codes) -> Codes:
    """Number the connected components of the new rows; earlier rows connect nothing."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    new = links[(sides[links] == _NEW).all(axis=1)]
    size = len(sides)
    graph = coo_matrix((np.ones(len(new), dtype=bool), (new[:, 0], new[:, 1])), shape=(size, size))
    found: Codes = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


def _join(links: Pairs, sides: Codes, clusters: Codes) -> npt.NDArray[np.bool_]:
    """Give clusters that touch earlier rows their side; return which rows touch another one as well."""
    ends = np.concatenate([links, links[:, ::-1]])
    ends = ends[(sides[ends[:, 0]] == _NEW) & (sides[ends[:, 1]] != _NEW)]
    touched = np.unique(np.column_stack([ends[:, 0], sides[ends[:, 1]]]), axis=0)
    count = np.zeros((int(clusters.max(initial=0)) + 1, len(SIDES)), dtype=np.int64)
    np.add.at(count, (clusters[touched[:, 0]], touched[:, 1]), 1)
    best = np.where(count.any(axis=1), count.argmax(axis=1), _NEW)
    sides[:] = np.where(sides == _NEW, best[clusters], sides)
    bridges = np.zeros(len(sides), dtype=bool)
    bridges[touched[touched[:, 1] != sides[touched[:, 0]], 0]] = True
    return bridges


def _torn(links: Pairs, sides: Codes) -> npt.NDArray[np.bool_]:
    """Return which earlier rows are now linked to one on a side that is nearer to the held-out set.

    That is so where the spec links more than it did when they were placed, such as by a new
    `group_by`. Nobody moves, so the row that would be learned from is left out.
    """
    torn = np.zeros(len(sides), dtype=bool)
    ends = np.concatenate([links, links[:, ::-1]])
    known = ends[(sides[ends] != _NEW).all(axis=1)]
    torn[known[sides[known[:, 0]] > sides[known[:, 1]], 0]] = True
    return torn


def _by_strata(examples: pl.DataFrame, clusters: Codes, sides: Codes, shares: SplitShares, seed: int) -> None:
    """Give each untouched cluster to the side that lacks most of its strata."""
    import polars as pl

    strata = examples["stratum"].to_list()
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(SIDES))
    for stratum, side in zip(strata, sides.tolist(), strict=True):
        if side != _NEW:
            counts[stratum][side] += 1
    keys = examples.select(seeded(pl.col("fingerprint"), seed)).to_series().to_list()
    groups = sorted(_groups(clusters, sides), key=lambda rows: (-len(rows), min(keys[row] for row in rows)))
    for rows in groups:
        share = Counter(strata[row] for row in rows)
        lack = [_lack(share, counts, side, wished) for side, wished in enumerate(_wished(shares))]
        side = lack.index(max(lack))
        sides[rows] = side
        for stratum, n in share.items():
            counts[stratum][side] += n


def _lack(share: Mapping[str, int], counts: Mapping[str, Sequence[int]], side: int, wished: float) -> float:
    """Return how many rows a side lacks of the strata that a cluster holds, weighted by its rows."""
    lack = sum(n * (wished * (sum(counts[s]) + n) - counts[s][side]) for s, n in share.items())
    # Rounded, or a tie would be decided by the last bit of a float.
    return round(lack, 9)


def _by_time(examples: pl.DataFrame, clusters: Codes, sides: Codes, shares: SplitShares, seed: int) -> None:
    """Hold the newest of the untouched clusters out and learn from the oldest.

    Where earlier rows have their sides, each arrival is cut by its own times.
    """
    times = examples["time"].to_list()
    groups = sorted(_groups(clusters, sides), key=lambda rows: (max(times[row] for row in rows), rows[0]))
    new = sum(map(len, groups))
    counts = np.bincount(sides[sides != _NEW], minlength=len(SIDES))
    lack = np.maximum(np.array(_wished(shares)) * len(sides) - counts, 0)
    ends = np.cumsum((lack / max(lack.sum(), 1) * new)[::-1])  # train, validation, held out
    placed = 0
    for rows in groups:
        middle = placed + len(rows) / 2
        sides[rows] = len(SIDES) - 1 - min(int(np.searchsorted(ends, middle)), len(SIDES) - 1)
        placed += len(rows)


def _wished(shares: SplitShares) -> list[float]:
    return [shares.held_out, shares.validation, 1 - shares.validation - shares.held_out]


def _groups(clusters: Codes, sides: Codes) -> list[list[int]]:
    """Return the rows of each cluster that has no side yet."""
    rows = np.flatnonzero(sides == _NEW)
    rows = rows[np.argsort(clusters[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(clusters[rows])) + 1
    return [part.tolist() for part in np.split(rows, starts)] if len(rows) else []
