"""Texts that are nearly the same, by the Jaccard similarity of their shingles.

What a text's shingles are, and why its signature is a bottom-k sketch and not MinHash, is told in
`retune.text.shingles`; how similar signatures are found, in `retune.text.sketch_join`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retune.errors import DataError, Problem
from retune.text.shingles import NOTHING, SIZE, Sketches, sketches
from retune.text.sketch_join import (
    SLACK,
    Codes,
    Places,
    looked_at,
    neighbours_between,
    neighbours_within,
    postings,
    rarest_first,
    similar,
    similarity,
    sizes_of,
)

LEAK_THRESHOLD = 0.66
"""Similarity from which a training row counts as an edited copy of a held-out one.

Chosen on BANKING77, whose questions have 12 words on average (`benchmarks/near_duplicates.py`): above
0.68 fewer than 99% of edited copies are caught, since a typo or a lost word is much of a short text.
The price is that real rows which ask the same in nearly the same words are taken for copies too.
"""

_VERSION = 1
# Of more rows with one signature the rest are paired with the first only.
_MOST_EQUAL = 8
# More would be quicker, and take more memory.
_MATCHED_AT_ONCE = 1 << 18


def signatures(texts: Sequence[str]) -> Sketches:
    """Return a signature a text, (n, 85), 32-bit.

    It depends on the text alone, not on the others, the process or the platform. Texts that are
    equal but for case, white space, punctuation and apostrophes have equal ones.

    Args:
        texts: Any Unicode. A text of white space and punctuation only matches nothing.
    """
    return sketches(texts)


def to_bytes(signatures: Sketches) -> list[bytes]:
    """Return each signature as at most 256 bytes: the version, then 24 bits a hash.

    Args:
        signatures: As `signatures` made them.
    """
    low = np.ascontiguousarray(signatures, dtype="<u4").view(np.uint8).reshape(len(signatures), SIZE, 4)
    data, head = low[:, :, :3].tobytes(), bytes([_VERSION])
    whole = 3 * SIZE
    return [
        head + data[row * whole : row * whole + 3 * size]
        for row, size in enumerate(sizes_of(signatures).tolist())
    ]


def from_bytes(stored: Sequence[bytes]) -> Sketches:
    """Return signatures that `to_bytes` wrote.

    Raises:
        DataError: Names the signatures of another version, or damaged ones.
    """
    problems = [
        Problem(f"signature {number} is {_seen(one)}", "register the held-out rows again with this version")
        for number, one in enumerate(stored)
        if one[:1] != bytes([_VERSION]) or len(one) % 3 != 1 or len(one) > 3 * SIZE + 1
    ]
    if problems:
        raise DataError(problems)
    whole = b"".join(one[1:].ljust(3 * SIZE, b"\xff") for one in stored)
    out = np.zeros((len(stored), SIZE, 4), dtype=np.uint8)
    out[:, :, :3] = np.frombuffer(whole, dtype=np.uint8).reshape(len(stored), SIZE, 3)
    sizes = np.fromiter(((len(one) - 1) // 3 for one in stored), dtype=np.int64, count=len(stored))
    found: Sketches = out.view("<u4").reshape(len(stored), SIZE).astype(np.uint32)
    found[np.arange(SIZE) >= sizes[:, None]] = NOTHING
    return found


def _seen(one: bytes) -> str:
    if one[:1] == bytes([_VERSION]):
        return f"{len(one)} bytes long, which none of version {_VERSION} is"
    return f"of version {one[0]}, not {_VERSION}" if one else "empty"


def pairs(signatures: Sketches, threshold: float) -> Places:
    """Return pairs of rows (i, j), i < j, whose similarity reaches the threshold, sorted.

    All are found, with two bounds on the work. Of more than eight rows with one signature the
    others are paired with the first one only. And where more than 256 rows (fewer, among millions)
    share even a rare shingle, each is compared with its next neighbours there instead of with all;
    what is alike stands close together, so that a large cluster comes as a chain.
    Groups are therefore the connected components of the pairs.

    Args:
        signatures: As `signatures` made them.
        threshold: Jaccard similarity, above 0, up to 1. The lower, the more work.
    """
    filled = np.flatnonzero(signatures[:, 0] != NOTHING)
    first, copy = _equals(signatures, filled)
    stars = np.column_stack([filled[first], filled])[copy >= _MOST_EQUAL]
    rows = filled[copy < _MOST_EQUAL]
    del first, copy, filled
    kept = np.take(signatures, rows, axis=0)
    entries, order = _sought(kept, threshold)
    # What is compared often shall stand close together.
    rows = rows[order]
    np.take(signatures, rows, axis=0, out=kept, mode="clip")
    a, b, _ = similar(neighbours_within(entries), kept, threshold)
    found = np.sort(np.concatenate([np.column_stack([rows[a], rows[b]]), stars]), axis=1)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def are_similar(signatures: Sketches, pairs: Places, threshold: float) -> NDArray[np.bool_]:
    """Return which pairs of rows reach a similarity; at 1 those whose signatures are equal.

    Args:
        signatures: As `signatures` made them.
        pairs: (n, 2) rows.
        threshold: Jaccard similarity, above 0, up to 1.
    """
    return similarity(signatures, pairs[:, 0], pairs[:, 1]) >= threshold - SLACK


def matches(new: Sketches, known: Sketches, threshold: float) -> Places:
    """Return for each new signature the index of the most similar known one, or -1.

    -1 where none reaches the threshold. Bounded as `pairs` is: where more than a thousand known rows
    share even the rarest shingles of a new one, it is compared with those next to it.

    Args:
        new: As `signatures` made them.
        known: The same.
        threshold: Jaccard similarity, above 0, up to 1.
    """
    (first, copy), (_, known_copy) = _equals(new), _equals(known)
    own, others = np.flatnonzero(copy == 0), np.flatnonzero(known_copy == 0)
    found = np.full(len(new), -1, dtype=np.int64)
    for part in np.array_split(own, own.size // _MATCHED_AT_ONCE + 1):
        _match(new, part, known, others, threshold, found)
    return found[first]


def _match(
    new: Sketches, own: Places, known: Sketches, others: Places, threshold: float, found: Places
) -> None:
    """Note for some new rows the most similar one of the known rows."""
    both = np.empty((own.size + others.size, SIZE), dtype=np.uint32)
    np.take(new, own, axis=0, out=both[: own.size], mode="clip")
    np.take(known, others, axis=0, out=both[own.size :], mode="clip")
    entries, rows = _sought(both, threshold)
    is_new = (rows < own.size)[(entries & np.uint64(0xFFFFFFFF)).astype(np.int64)]
    candidates = neighbours_between(entries[is_new], entries[~is_new])
    a, b, closeness = similar(candidates, both[rows], threshold)
    a, b = own[rows[a]], others[rows[b] - own.size]
    best = np.lexsort((-b, closeness))
    found[a[best]] = b[best]


def _sought(signatures: Sketches, threshold: float) -> tuple[Codes, Places]:
    """Return the postings of signatures, by place in the order of their rarest elements; and that order."""
    counts = looked_at(signatures, threshold)
    rarest = rarest_first(signatures, int(counts.max(initial=0)))
    return postings(rarest, counts), rarest.order


def _equals(signatures: Sketches, rows: Places | None = None) -> tuple[Places, Places]:
    """Return for each row the first one that equals it, and how many equal ones stand before it.

    Args:
        signatures: As `signatures` made them.
        rows: Only these rows; both results are places in it.
    """
    rows = np.arange(len(signatures)) if rows is None else rows
    weights = np.random.Generator(np.random.PCG64(0)).integers(1 << 63, size=SIZE, dtype=np.uint64)
    hashes = np.concatenate(
        [signatures[part] @ weights for part in np.array_split(rows, len(rows) // 4096 + 1)]
    )
    order = np.argsort(hashes, kind="stable")
    same = np.zeros(order.size, dtype=bool)
    like = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    one, other = rows[order[like]], rows[order[like + 1]]
    same[like + 1] = (signatures[one] == signatures[other]).all(axis=1)
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(order.size)))
    first, copy = np.empty_like(order), np.empty_like(order)
    first[order], copy[order] = order[starts], np.arange(order.size) - starts
    return first, copy
