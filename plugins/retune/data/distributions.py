"""Figures over many rows: balances, lengths, and how varied the texts are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_BINS = 30
_WORD = re.compile(r"\w+")
_MOST_WORDS = 100_000
_QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}


def lengths_of(values: pl.Series) -> dict[str, Any]:
    """Return quantiles and a histogram of lengths.

    The bins end at the 99th percentile, so that one huge row does not hide the others; `above` says
    how many are beyond.
    """
    import numpy as np

    if not len(values):
        return {"rows": 0, "quantiles": {}, "edges": [], "counts": [], "above": 0}
    numbers = values.to_numpy()
    quantiles = np.quantile(numbers, list(_QUANTILES.values()), method="higher").tolist()
    end = int(quantiles[-1])
    # Bins of whole numbers and one width: others would hold one length more or less, and look like combs.
    edges = np.arange(_BINS + 1) * (end // _BINS + 1)
    edges = edges[: int(np.searchsorted(edges, end, side="right")) + 1]
    counts, _ = np.histogram(numbers[numbers <= end], edges)
    return {
        "rows": len(numbers),
        "quantiles": {
            "least": int(numbers.min()),
            **dict(zip(_QUANTILES, map(int, quantiles), strict=True)),
            "most": int(numbers.max()),
            "mean": round(float(numbers.mean()), 1),
        },
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "above": int((numbers > end).sum()),
    }


def balance_of(examples: pl.DataFrame, sides: Sequence[str]) -> dict[str, Any]:
    """Return how often each label stands on each side, and how even that is.

    Args:
        examples: With the columns `label` and `side`.
        sides: The sides, in the order wished for.
    """
    import polars as pl

    counted = (
        examples.group_by("label")
        .agg(pl.len().alias("rows"), *((pl.col("side") == side).sum().alias(side) for side in sides))
        .sort("rows", "label", descending=[True, False])
    )
    rows: list[int] = counted["rows"].to_list()
    total = sum(rows)
    entropy = -sum(n / total * math.log(n / total) for n in rows)
    even = entropy / math.log(len(rows)) if len(rows) > 1 else 1.0
    largest, smallest = counted.row(0, named=True), counted.row(-1, named=True)
    ratio = largest["rows"] / smallest["rows"]
    return {
        "labels": counted.to_dicts(),
        "ratio": round(ratio, 2),
        "entropy": round(even, 4),
        "said": (
            f"{len(rows)} labels; the largest ({largest['label']}, {largest['rows']:,} rows) has"
            f" {ratio:.1f} times the rows of the smallest ({smallest['label']}, {smallest['rows']:,});"
            f" evenness {even:.2f} (normalised entropy; 1: all labels alike)."
        ),
    }


def diversity_of(texts: Iterable[str]) -> dict[str, Any]:
    """Return which share of the words, pairs and triples of words are different ones.

    Li et al. 2016 (arXiv 1510.03055) call it distinct-n. It falls as a text grows, so it is always
    taken over the first 100,000 words: figures of data sets of that size can be compared.
    """
    seen: tuple[set[tuple[str, ...]], ...] = (set(), set(), set())
    counts = [0, 0, 0]
    words = rows = 0
    for text in texts:
        found = _WORD.findall(text.lower())[: _MOST_WORDS - words]
        for n, grams in enumerate(seen, start=1):
            parts = list(zip(*(found[start:] for start in range(n)), strict=False))
            grams.update(parts)
            counts[n - 1] += len(parts)
        words, rows = words + len(found), rows + 1
        if words >= _MOST_WORDS:
            break
    shares = [
        round(len(grams) / count, 4) if count else 0.0 for grams, count in zip(seen, counts, strict=True)
    ]
    return {
        "rows": rows,
        "words": words,
        "distinct": dict(zip(("1", "2", "3"), shares, strict=True)),
        "said": (
            f"Of {words:,} words in {rows:,} prompts {shares[0]:.1%} are different ones, of their pairs"
            f" {shares[1]:.1%} and of their triples {shares[2]:.1%}."
        ),
    }


def deviations(examples: pl.DataFrame, wished: dict[str, float], by: str = "") -> list[dict[str, Any]]:
    """Return each side's rows, wished and got share, and by how much they differ.

    Args:
        examples: With the column `side`.
        wished: Side -> share.
        by: Column whose every value is split in these shares; none: all rows together.
    """
    import polars as pl

    keys = [pl.col(by).alias("of")] if by else [pl.lit("").alias("of")]
    counted = examples.group_by(*keys).agg(
        pl.len().alias("all"), *((pl.col("side") == side).sum().alias(side) for side in wished)
    )
    found = [
        {
            "of": row["of"],
            "side": side,
            "rows": row[side],
            "all": row["all"],
            "wished": round(share, 4),
            "got": round(row[side] / row["all"], 4),
            "deviation": round(row[side] / row["all"] - share, 4),
            "rows_off": round(row[side] - share * row["all"], 1),
        }
        for row in counted.iter_rows(named=True)
        for side, share in wished.items()
    ]
    return sorted(found, key=lambda item: (-abs(item["rows_off"]), item["of"]) if by else (0, ""))


def bins(figures: Mapping[str, Any]) -> Iterable[tuple[int, int, int]]:
    """Yield (from, to, rows) of a histogram that `lengths_of` made."""
    for (start, end), count in zip(pairwise(figures["edges"]), figures["counts"], strict=True):
        yield start, end, count
