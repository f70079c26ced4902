"""Prompts that are nearly the same: which ones go, and which must stay on one side of the split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from retune.data.drops import Drops
from retune.data.spool import Spool
from retune.text import near_duplicates

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    Signatures = npt.NDArray[np.uint32]
    Pairs = npt.NDArray[np.int64]
    Rows = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_BATCH = 20_000


def signatures_of(examples: pl.DataFrame, spool: Spool) -> Signatures:
    """Return one signature an example of what it asks, made batch by batch from the spool."""
    return _signed(spool.prompts(examples), examples.height, spool)


def _signed(all_texts: Iterator[str], count: int, spool: Spool) -> Signatures:
    one = near_duplicates.signatures([""])
    found, done = spool.array((count, one.shape[1]), one.dtype), 0
    while texts := list(islice(all_texts, _BATCH)):
        found[done : done + len(texts)] = near_duplicates.signatures(texts)
        done += len(texts)
    return found


@dataclass(frozen=True)
class Distinct:
    """What is left, and which of it belongs together.

    Attributes:
        examples: In the order given.
        signatures: One an example, and those of examples that were left out since.
        places: Where in `signatures` each example's stands.
        links: Pairs of indices into `examples` that are nearly the same and must share a side.
        similarity: From which they are linked.
    """

    examples: pl.DataFrame
    signatures: Signatures
    places: Rows
    links: Pairs
    similarity: float

    def keep(self, kept: Mask) -> Distinct:
        """Return the same without the examples that are not kept."""
        if kept.all():
            return self
        place = np.cumsum(kept) - 1
        links = np.concatenate([self.links, self._around(~kept)])
        links = place[links[kept[links].all(axis=1)]]
        return replace(self, examples=self.examples.filter(kept), places=self.places[kept], links=links)

    def _around(self, gone: Mask) -> Pairs:
        """Return pairs that link equal signatures still, of which the one goes that all were paired with."""
        groups = _twins(self)
        torn = np.flatnonzero(np.isin(groups, np.unique(groups[gone])) & ~gone)
        hubs, first = np.unique(groups[torn], return_index=True)
        return np.column_stack([torn[first][np.searchsorted(hubs, groups[torn])], torn])


def find_links(examples: pl.DataFrame, signatures: Signatures, threshold: float) -> Distinct:
    """Link the examples whose prompts are so close that one would give the other away."""
    links = near_duplicates.pairs(signatures, threshold)
    return Distinct(examples, signatures, np.arange(examples.height), links, threshold)


def drop_near_conflicts(found: Distinct, drops: Drops) -> Distinct:
    """Leave out prompts that differ in case, punctuation or white space only, but have several labels."""
    import polars as pl

    twins = _twins(found)
    labels = found.examples.select("label", twin=pl.Series(twins))
    several = labels.select((pl.col("label").n_unique() > 1).over("twin")).to_series()
    place = pl.format("{} at {}:{}", "label", "file", "line").sort().head(3).str.join(", ").over("twin")
    gone = found.examples.with_columns(twin=pl.Series(twins)).filter(several).with_columns(detail=place)
    drops.add(gone.drop("twin"), "conflict")
    return found.keep(~several.to_numpy())


def drop_near_duplicates(
    found: Distinct, threshold: float, earlier: pl.Series, spool: Spool, drops: Drops
) -> Distinct:
    """Leave out an example that says nearly the same as one that is kept, and is answered alike.

    In a classification the labels must be equal, elsewhere the answers nearly the same too. The
    ones that earlier datasets hold are kept first, then by id, so the result does not depend on the
    order of the sources.

    Args:
        found: Examples sorted by id, and their links.
        threshold: Similarity from which two are one; 1: none are.
        earlier: Fingerprints that have a side already.
        spool: Has the texts.
        drops: Takes what is left out.
    """
    import polars as pl

    if threshold >= 1:
        return found
    examples = found.examples
    close = _answered_alike(_closer(found, threshold), examples, spool, threshold)
    known = examples["fingerprint"].is_in(earlier.implode()).to_numpy()
    # A prompt may be answered in several ways where there are no labels.
    labelled = bool((examples["label"] != "").any())
    twins = _twins(found) if labelled else np.arange(examples.height)
    copy_of = _copies(close, twins, known)
    rows = sorted(copy_of)
    places = examples.select(pl.format("of {}:{}", "file", "line")).to_series()
    said = places.gather([copy_of[row] for row in rows]).alias("detail")
    drops.add(examples[rows].with_columns(said), "near_duplicate")
    # What was close to a copy stays linked to what it is a copy of.
    stands_for = np.arange(examples.height)
    stands_for[rows] = [copy_of[row] for row in rows]
    kept = np.ones(examples.height, dtype=bool)
    kept[rows] = False
    links = stands_for[found.links]
    return replace(found, links=links[links[:, 0] != links[:, 1]]).keep(kept)


def _closer(found: Distinct, threshold: float) -> Pairs:
    """Return the pairs of examples that are as similar as this."""
    if threshold < found.similarity:
        return near_duplicates.pairs(found.signatures[found.places], threshold)
    places = found.places[found.links]
    return found.links[near_duplicates.are_similar(found.signatures, places, threshold)]


def _answered_alike(close: Pairs, examples: pl.DataFrame, spool: Spool, threshold: float) -> Pairs:
    """Return the pairs whose answers are alike too."""
    labels = examples["label"].to_numpy()
    close = close[labels[close[:, 0]] == labels[close[:, 1]]]
    if not len(close) or (labels[close[:, 0]] != "").any():
        return close
    rows = np.unique(close)
    answers = _signed(spool.answers(examples[rows]), len(rows), spool)
    return close[near_duplicates.are_similar(answers, np.searchsorted(rows, close), threshold)]


def _twins(found: Distinct) -> Rows:
    """Number the groups of examples whose signatures are equal."""
    equal = near_duplicates.are_similar(found.signatures, found.places[found.links], 1)
    return _components(found.links[equal], found.examples.height)


def _components(links: Pairs, size: int) -> Rows:
    """Number the connected components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(links), dtype=bool), (links[:, 0], links[:, 1])), shape=(size, size))
    found: Rows = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


def _copies(pairs: Pairs, twins: Rows, known: Mask) -> Mapping[int, int]:
    """Return row -> the kept row that it is a copy of.

    Of many rows with one signature only some are paired, so a row stands for all of its twins.
    """
    neighbours: defaultdict[int, list[int]] = defaultdict(list)
    for a, b in pairs.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    copy_of: dict[int, int] = {}
    kept: dict[int, int] = {}
    for row in sorted(neighbours, key=lambda row: (not known[row], row)):
        same = [
            kept[group]
            for group in {twins[row], *(twins[other] for other in neighbours[row])}
            if group in kept
        ]
        if same:
            copy_of[row] = min(same)
        else:
            kept[twins[row]] = row
    return copy_of


def stars(values: pl.Series, rank: Sequence[int]) -> Pairs:
    """Return pairs that link rows of equal values, each with the first one of the least rank.

    Args:
        values: One a row; empty values are alone.
        rank: One a row. Where some rows of a value have a side already, all others must look at one of
            the side that is nearest to the held-out set.
    """
    import polars as pl

    frame = pl.DataFrame({"value": values, "rank": rank}).with_row_index("row")
    frame = frame.filter(pl.col("value") != "").sort("rank", "row")
    linked = frame.select(pl.col("row").first().over("value").alias("hub"), "row")
    pairs: Pairs = linked.filter(pl.col("hub") != pl.col("row")).to_numpy().astype(np.int64)
    return pairs
