"""Which sketches can be similar, found without comparing all with all.

Of two sets with a Jaccard similarity of at least t, of size n each, any n - ceil(t n) + 1 elements of
the one hold an element of the other. Looking at each set's rarest elements alone therefore misses
nothing, and rare elements have few owners (prefix filtering: Chaudhuri, Ganti and Kaushik, ICDE
2006; Xiao et al., "Efficient similarity joins for near-duplicate detection", WWW 2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retune.text.shingles import NOTHING, SIZE, Sketches, cores

Places = NDArray[np.int64]
Codes = NDArray[np.uint64]

# Comparisons that one call aims at, some seconds' worth; and how many owners of an element are
# compared with one another at least, and at most.
_MOST_COMPARISONS = 1 << 26
_LEAST_NEIGHBOURS, _MOST_WITHIN, _MOST_BETWEEN = 8, 256, 1024
_CHUNK = 1 << 22
_ENTRIES_AT_ONCE = 1 << 20
_COMPARED_AT_ONCE = 1024
_BITS = 256
_FILTERED_AT_ONCE = 1 << 16
_ROWS = np.uint64(0xFFFFFFFF)
# Any rounding that lets a similarity of exactly the threshold pass.
SLACK = 1e-9


class Rarest(NamedTuple):
    """Sketches with each one's rarest elements.

    Attributes:
        keys: (n, most) elements with their rarity above them, ascending, filled up with `NOTHING`.
        order: Rows sorted by their rarest two elements: what is alike stands close together.
    """

    keys: Sketches
    order: Places


def rarest_first(sketches: Sketches, most: int) -> Rarest:
    """Order the elements of all sketches by how few hold them, and keep the `most` first ones of each."""
    # Nothing depends on exact counts, so elements may share a counter.
    low = np.uint32((1 << min(sketches.size.bit_length(), 20)) - 1)
    counters = np.zeros(int(low) + 1, dtype=np.int64)
    for part in _parts(len(sketches)):
        counters += np.bincount((sketches[part] & low).ravel(), minlength=int(low) + 1)
    rarity = np.minimum(8 * np.log2(np.maximum(counters, 1)), 254).astype(np.uint32) << np.uint32(24)
    keys = np.empty((len(sketches), max(most, 2)), dtype=np.uint32)
    for part in _parts(len(sketches)):
        elements = rarity[sketches[part] & low] | sketches[part]
        elements.sort(axis=1)
        keys[part] = elements[:, : keys.shape[1]]
    rarest = keys[:, :2].astype(np.uint64)
    return Rarest(keys, np.argsort(rarest[:, 0] << np.uint64(32) | rarest[:, 1], kind="stable"))


def _parts(rows: int) -> Iterator[slice]:
    return (slice(start, start + _FILTERED_AT_ONCE) for start in range(0, rows, _FILTERED_AT_ONCE))


def sizes_of(sketches: Sketches) -> Places:
    """Return how many hashes each sketch holds."""
    found = [np.count_nonzero(sketches[part] != NOTHING, axis=1) for part in _parts(len(sketches))]
    sizes: Places = np.concatenate([np.empty(0, dtype=np.int64), *found])
    return sizes


def looked_at(sketches: Sketches, threshold: float) -> Places:
    """Return of how many elements of each sketch, the rarest, all that are similar hold one."""
    sizes = sizes_of(sketches)
    counts: Places = sizes - np.ceil(threshold * sizes - SLACK).astype(np.int64) + 1
    counts[sizes == 0] = 0
    return counts


def postings(rarest: Rarest, counts: Places) -> Codes:
    """Return (element, place in the order) for the elements that must be looked at, sorted.

    Args:
        rarest: Of each row its rarest elements.
        counts: How many of them count.
    """
    keys, places = rarest.keys, np.empty(len(counts), dtype=np.uint64)
    places[rarest.order] = np.arange(len(counts), dtype=np.uint64)
    found = np.empty(int(counts.sum()), dtype=np.uint64)
    filled = 0
    for column in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > column)
        part = found[filled : filled + rows.size]
        part[:] = keys[rows, column]
        part <<= np.uint64(32)
        part |= places[rows]
        filled += rows.size
    found.sort()
    return found


def neighbours_within(entries: Codes) -> Iterator[tuple[Places, Places]]:
    """Yield rows (a, b), a < b, that hold an element together.

    Where very many hold it, each is paired with its next neighbours only.
    """
    most = _neighbours(entries, _MOST_WITHIN)
    for part in _whole_elements(entries):
        rows, elements, at = _rows(part), part >> np.uint64(32), np.arange(part.size)
        for distance in range(1, most + 1):
            at = at[at + distance < part.size]
            at = at[elements[at] == elements[at + distance]]
            if not at.size:
                break
            yield rows[at], rows[at + distance]


def _whole_elements(entries: Codes) -> Iterator[Codes]:
    """Yield a million entries at a time, all of an element together."""
    start = 0
    while start < entries.size:
        last = entries[min(start + _ENTRIES_AT_ONCE, entries.size) - 1]
        end = int(np.searchsorted(entries, last | _ROWS, side="right"))
        yield entries[start:end]
        start = end


def neighbours_between(new: Codes, known: Codes) -> Iterator[tuple[Places, Places]]:
    """Yield (new row, known row) that hold an element together; see `neighbours_within`."""
    most = _neighbours(new, _MOST_BETWEEN)
    for at in range(0, new.size, _ENTRIES_AT_ONCE):
        part = new[at : at + _ENTRIES_AT_ONCE]
        element = part & ~_ROWS
        starts = np.searchsorted(known, element)
        ends = np.searchsorted(known, element | _ROWS, side="right")
        starts = np.maximum(starts, np.minimum(np.searchsorted(known, part) - most // 2, ends - most))
        ends = np.minimum(ends, starts + most)
        rows = _rows(part)
        while (alive := starts < ends).any():
            starts, ends, rows = starts[alive], ends[alive], rows[alive]
            yield rows, _rows(known[starts])
            starts = starts + 1


def _rows(entries: Codes) -> Places:
    rows: Places = (entries & _ROWS).astype(np.int64)
    return rows


def _neighbours(entries: Codes, most: int) -> int:
    return min(max(_MOST_COMPARISONS // max(entries.size, 1), _LEAST_NEIGHBOURS), most)


def similar(
    candidates: Iterator[tuple[Places, Places]], sketches: Sketches, threshold: float
) -> tuple[Places, Places, NDArray[np.float64]]:
    """Return the candidates that are similar, each once, and how similar they are."""
    width = max(len(sketches), 1)
    pairs, closeness = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for codes in _chunks(candidates, sketches, threshold):
        close = similarity(sketches, *np.divmod(codes, width))
        near = close >= threshold - SLACK
        pairs.append(codes[near])
        closeness.append(close[near])
    distinct, first = np.unique(np.concatenate(pairs), return_index=True)
    return *np.divmod(distinct, width), np.concatenate(closeness)[first]


def _chunks(
    candidates: Iterator[tuple[Places, Places]], sketches: Sketches, threshold: float
) -> Iterator[Places]:
    """Yield distinct pairs as numbers, some millions at a time, without most that are too different."""
    sizes, bitmaps = sizes_of(sketches), _bitmaps(sketches)
    # Similar sketches share this many hashes with the larger of the two.
    shared = np.ceil(threshold * np.arange(SIZE + 1) - SLACK).astype(np.int64)
    gathered: list[Places] = []
    waiting = 0
    for all_a, all_b in candidates:
        for start in range(0, all_a.size, _FILTERED_AT_ONCE):
            a, b = (side[start : start + _FILTERED_AT_ONCE] for side in (all_a, all_b))
            n, m = sizes[a], sizes[b]
            needed = shared[np.maximum(n, m)]
            differing = sum(np.bitwise_count(bits[a] ^ bits[b]) for bits in bitmaps)
            near = np.flatnonzero((np.minimum(n, m) >= needed) & (differing <= n + m - 2 * needed))
            gathered.append(a[near] * sizes.size + b[near])
            waiting += near.size
        if waiting > _CHUNK:
            yield _distinct(gathered)
            gathered, waiting = [], 0
    if gathered:
        yield _distinct(gathered)


def _bitmaps(sketches: Sketches) -> list[Codes]:
    """Return bits that the sketches' hashes set, 64 a part.

    Two bitmaps differ in at most as many bits as the sketches do in hashes, which rules out most
    candidates at a tenth of a comparison's cost (Sandes, Teodoro and Melo, "Bitmap filter", 2020).
    """
    parts = []
    for part in np.array_split(sketches, len(sketches) // 4096 + 1):
        # The column over the bits is where what fills up goes.
        places = np.where(part == NOTHING, _BITS, part & np.uint32(_BITS - 1))
        bits = np.zeros((len(part), _BITS + 1), dtype=np.uint8)
        bits[np.arange(len(part))[:, None], places] = 1
        parts.append(np.packbits(bits[:, :_BITS], axis=1).view(np.uint64))
    return list(np.ascontiguousarray(np.concatenate(parts).T))


def _distinct(parts: list[Places]) -> Places:
    codes = np.sort(np.concatenate(parts))
    distinct: Places = codes[np.diff(codes, prepend=-1) != 0]
    return distinct


def similarity(sketches: Sketches, a: Places, b: Places) -> NDArray[np.float64]:
    """Estimate the Jaccard similarity of rows `a` with rows `b`, pair by pair.

    Two sketches know all hashes of their texts up to the smaller of their greatest ones; the
    similarity of what lies below is exact for small sets and an estimate for the others.
    """
    out = np.empty(a.size)

    def fill(start: int) -> None:
        part = slice(start, start + _COMPARED_AT_ONCE)
        x, y = sketches[a[part]], sketches[b[part]]
        # A sketch that is filled up holds all its text has: no limit, but do not count the filling.
        limit = np.minimum(np.minimum(x[:, -1:], y[:, -1:]), NOTHING - np.uint32(1))
        held = np.count_nonzero(x <= limit, axis=1) + np.count_nonzero(y <= limit, axis=1)
        merged = np.concatenate([x, y], axis=1)
        merged.sort(axis=1)
        both = np.count_nonzero((merged[:, 1:] == merged[:, :-1]) & (merged[:, 1:] <= limit), axis=1)
        out[part] = both / np.maximum(held - both, 1)

    starts = range(0, a.size, _COMPARED_AT_ONCE)
    with ThreadPoolExecutor(min(cores(), max(len(starts), 1))) as pool:
        list(pool.map(fill, starts))
    return out
