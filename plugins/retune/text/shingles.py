"""Sketches of texts: the smallest hashes of what a text consists of.

A text's shingles are, after folding, the character trigrams of its words (each word with a space on
either side), and for each two neighbouring words the end of the one with the start of the other.
The trigrams make a typo, a lost word or a swapped one a small change even in a text of five words;
the joints keep long texts apart that share a vocabulary. Folding drops case, white space,
punctuation and apostrophes. Scripts without spaces work, since grams are of characters.

The sketch is bottom-k (Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC 2007):
the k smallest hashes. A text of up to k shingles is held whole, so that the Jaccard similarity of
two such texts is exact, where MinHash of the same size would be off by some 0.05.

**What these functions return is stored for years. A change of any constant or step here needs a new
version in `retune.text.near_duplicates`.**
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

SIZE = 85
"""Hashes a sketch: 85 of 24 bits and a version are 256 bytes."""
NOTHING = np.uint32(0xFFFFFFFF)
"""Fills a sketch up; greater than any hash."""

Sketches = NDArray[np.uint32]
_Bytes = NDArray[np.uint8]
_Places = NDArray[np.int64]
_Batch = NDArray[np.int64]

# Small enough that a batch's arrays stay in the second-level cache.
_BATCH_CHARACTERS = 1 << 18
_BREAK, _SKIP = 0, 1
_SPACELESS_FROM = 0x2E80


def sketches(texts: Sequence[str]) -> Sketches:
    """Return a sketch a text: its `SIZE` smallest hashes, ascending, filled up with `NOTHING`.

    Args:
        texts: Any Unicode; a text without letters, digits or symbols has an empty sketch.
    """
    out = np.full((len(texts), SIZE), NOTHING, dtype=np.uint32)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    ascii_only = np.fromiter(map(str.isascii, texts), dtype=bool, count=len(texts))
    todo = iter([*_batches(lengths, ascii_only), *_batches(lengths, ~ascii_only)])

    def work(_: int) -> None:
        scratch = np.empty((2, 0), dtype=np.uint32)
        for batch in todo:
            data, ends = _folded([texts[row] for row in batch])
            # Fresh memory for each batch would cost as much as all the hashing.
            if scratch.shape[1] < data.size:
                scratch = np.empty((2, data.size * 5 // 4), dtype=np.uint32)
            out[batch] = _sketched(data, ends, scratch)

    workers = cores() if lengths.sum() > 4 * _BATCH_CHARACTERS else 1
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return out


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(lengths: _Places, chosen: NDArray[np.bool_]) -> Iterator[_Batch]:
    """Yield rows of about the same length, so that one limit on hashes fits a whole batch."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    number = np.cumsum(lengths[rows] + 1) // _BATCH_CHARACTERS
    yield from (part for part in np.split(rows, np.flatnonzero(np.diff(number)) + 1) if part.size)


def _folded(texts: list[str]) -> tuple[_Bytes, _Places]:
    """Return texts as bytes, 0 between words and around texts, and where each text ends."""
    joined = "\0".join(texts)
    if joined.count("\0") != len(texts) - 1:
        joined = "\0".join(texts := [text.replace("\0", " ") for text in texts])
    if joined.isascii():
        data = joined.encode("ascii").translate(_ascii_folds(), b"'")
        marks: Iterator[int] | map[int] = (
            (len(text) - text.count("'") for text in texts) if "'" in joined else map(len, texts)
        )
        return _padded(data), np.fromiter(accumulate(length + 1 for length in marks), np.int64, len(texts))
    # Texts cannot grow together: nothing composes with the zero between them.
    points = np.frombuffer((unicodedata.normalize("NFC", joined) + "\0").encode("utf-32-le"), dtype="<u4")
    codes = _folds(points).view(np.uint8)
    kept = codes != _SKIP
    starts = 2 * np.concatenate([[0], np.flatnonzero(points == 0)[:-1] + 1])
    ends = np.cumsum(np.add.reduceat(kept, starts, dtype=np.int64))
    return _padded(codes[kept].tobytes()), ends


def _padded(data: bytes) -> _Bytes:
    return np.frombuffer(b"\0" + data + b"\0\0\0\0", dtype=np.uint8)


def _fold(point: int) -> bytes:
    """Return what a character is folded to: one or two bytes, or a break, or nothing.

    ASCII stays itself and an alphabet's letters are told apart by their low bits; where words are
    not parted by spaces (Chinese, Japanese, Korean) a character says more, and has two bytes.
    """
    kind = unicodedata.category(chr(point))
    # Zero-width marks, and apostrophes: don't, dont and don’t are one word.
    if kind == "Cf" or chr(point) in "'’ʼ＇":
        return bytes([_SKIP, _SKIP])
    if kind[0] in "PZ" or kind in ("Cc", "Sk"):
        return bytes([_BREAK, _SKIP])
    folded = unicodedata.normalize("NFKC", chr(point).casefold())
    if len(folded) > 2 or any(ord(one) >= _SPACELESS_FROM for one in folded):
        folded = chr(point)
    if len(folded) == 1 and (wide := ord(folded)) >= _SPACELESS_FROM:
        return bytes([0x80 | wide & 0x7F, 0x80 | wide >> 7 & 0x7F])
    low = [ord(one) if ord(one) < 0x80 else 0x80 | ord(one) & 0x7F for one in folded]
    # What folds to an ASCII mark (a compatibility form of a space or accent) is a break in ASCII too.
    low = [one if one >= 0x80 or chr(one).isalnum() or one in b"$+<=>|~" else _BREAK for one in low]
    return bytes(low if len(low) == 2 else [*low, _SKIP])


@cache
def _ascii_folds() -> bytes:
    return bytes(_fold(point)[0] for point in range(128)) + bytes(128)


@cache
def _page(number: int) -> NDArray[np.uint16]:
    return np.frombuffer(b"".join(map(_fold, range(number << 8, (number + 1) << 8))), dtype="<u2")


def _folds(points: NDArray[np.uint32]) -> NDArray[np.uint16]:
    numbers = points >> 8
    used = np.flatnonzero(np.bincount(numbers))
    places = np.zeros(int(used[-1]) + 1, dtype=np.uint32)
    places[used] = np.arange(used.size, dtype=np.uint32) << 8
    table = np.concatenate([_page(int(number)) for number in used])
    found: NDArray[np.uint16] = table[places[numbers] + (points & 0xFF)]
    return found


def _sketched(data: _Bytes, ends: _Places, scratch: Sketches) -> Sketches:
    """Return the sketches of folded texts."""
    grams, rest = scratch[:, : data.size - 3]
    np.bitwise_and(
        np.ndarray(grams.shape, dtype="<u4", buffer=data, strides=(1,)), np.uint32(0xFFFFFF), out=grams
    )
    filled = data != 0
    joints, joint_ends = _joints(grams, filled, ends)
    _mix(grams, rest)
    _mix(joints, np.empty_like(joints))
    # A gram stands around each character of a word, and so never reaches into another word.
    return _smallest(grams, filled[1:-2], ends, joints, joint_ends)


def _joints(grams: Sketches, filled: NDArray[np.bool_], ends: _Places) -> tuple[Sketches, _Places]:
    """Join the last gram inside each word with the first inside the next word of the same text."""
    edges = np.flatnonzero(filled[1:] != filled[:-1])
    first, last = edges[::2], edges[1::2] - 1
    word_ends = np.searchsorted(first, ends)
    joined = np.ones(first.size, dtype=bool)
    joined[word_ends[word_ends > 0] - 1] = False
    word = np.flatnonzero(joined)
    last, first = last[word], first[word + 1]
    # A word of one letter has no gram inside: the one around the letter stands for it.
    end = grams[last - (grams[last] & np.uint32(0xFF) != 0)]
    start = grams[first + (grams[first] > 0xFFFF)]
    joints = end * np.uint32(0x9E3779B1) + start * np.uint32(0x85EBCA77) + np.uint32(0xC2B2AE3D)
    return joints, np.searchsorted(word, word_ends)


def _mix(values: Sketches, rest: Sketches) -> None:
    """Turn each value into 24 well-mixed bits of it (MurmurHash3's finaliser)."""
    np.right_shift(values, np.uint32(16), out=rest)
    values ^= rest
    values *= np.uint32(0x85EBCA6B)
    np.right_shift(values, np.uint32(13), out=rest)
    values ^= rest
    values *= np.uint32(0xC2B2AE35)
    values >>= np.uint32(8)


def _smallest(
    grams: Sketches, valid: NDArray[np.bool_], ends: _Places, joints: Sketches, joint_ends: _Places
) -> Sketches:
    """Return each text's `SIZE` smallest distinct hashes."""
    starts = np.concatenate([[0], ends]), np.concatenate([[0], joint_ends])
    texts = np.arange(ends.size)

    def all_of(text: int) -> Sketches:
        place = slice(starts[0][text], ends[text])
        parts = (grams[place][valid[place]], joints[starts[1][text] : joint_ends[text]])
        return _distinct(np.concatenate(parts))

    limit = 1 << 24
    if ends[-1] > 2 * SIZE * ends.size:
        limit = min(limit, limit * 7 * SIZE // (5 * max(all_of(ends.size // 2).size, 1)))
    below = grams < limit
    below &= valid
    found = np.flatnonzero(below), np.flatnonzero(joints < limit)
    bounds = [np.searchsorted(places, start) for places, start in zip(found, starts, strict=True)]
    counts = [np.diff(bound) for bound in bounds]
    total = counts[0] + counts[1]
    width = min(max(int(total.max()), SIZE), 4 * SIZE)
    # One cell over takes what does not fit into its row.
    cells = np.full(ends.size * width + 1, NOTHING, dtype=np.uint32)
    at = texts * width
    for hashes, places, bound, count in zip((grams, joints), found, bounds, counts, strict=True):
        cell = np.arange(places.size) + np.repeat(at - bound[:-1], count)
        if total.max() > width:
            cell = np.where(cell < np.repeat((texts + 1) * width, count), cell, cells.size - 1)
        cells[cell] = hashes[places]
        at = at + count
    rows = np.sort(cells[:-1].reshape(-1, width), axis=1)[:, : 2 * SIZE]
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = NOTHING
    rows.sort(axis=1)
    rows = rows[:, :SIZE]
    # The limit was too low for these, or they repeat themselves too often.
    short = (rows[:, -1] == NOTHING) & ((limit < 1 << 24) | (total > 2 * SIZE)) | (total > width)
    for text in np.flatnonzero(short):
        smallest = all_of(int(text))[:SIZE]
        rows[text] = NOTHING
        rows[text, : smallest.size] = smallest
    return rows


def _distinct(values: Sketches) -> Sketches:
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if ordered.size else ordered
