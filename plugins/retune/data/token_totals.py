"""How many tokens a dataset has under a base model, reckoned from a part of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retune.text.tokens import TokenCounter

if TYPE_CHECKING:
    import polars as pl

    from retune.data.spool import Spool

MOST_COUNTED = 2000
"""Rows that are counted; of more a seeded sample is taken."""
_Z_95 = 1.96


@dataclass(frozen=True)
class TokenTotal:
    """The tokens of a dataset under one base model.

    Attributes:
        base_model: Whose tokens.
        counter: What counted them.
        exact: The base model's own tokenizer counted.
        window: Most tokens of a conversation, as the recipe has it.
        rows: Rows of the dataset.
        tokens: Tokens of all rows.
        error: Half the width of the 95% interval around `tokens`, as a share of it; 0 where every
            row was counted; None where nothing counts exactly.
        lengths: Tokens of the rows that were counted.
    """

    base_model: str
    counter: str
    exact: bool
    window: int
    rows: int
    tokens: int
    error: float | None
    lengths: list[int]

    @property
    def said(self) -> str:
        """One sentence: how many tokens, and how sure that is."""
        if self.error is None:
            how = f"{self.counter}; it may be off by a third"
        elif len(self.lengths) == self.rows:
            how = f"counted by {self.counter}"
        else:
            how = f"±{self.error:.1%}, from {len(self.lengths):,} rows counted by {self.counter}"
        return f"{self.base_model}: {self.tokens:,} tokens ({how})."


def total_tokens(
    base_model: str, window: int, counter: TokenCounter, examples: pl.DataFrame, spool: Spool, seed: int
) -> TokenTotal:
    """Count the tokens of at most `MOST_COUNTED` rows and reckon those of all from the rows' bytes.

    Tokens go with bytes, and the bytes of every row are known: a ratio estimator (Cochran 1977,
    "Sampling Techniques", chapter 6) is much closer than the mean tokens of a row.

    Args:
        base_model: Whose tokens, as the recipe names it.
        window: Most tokens of a conversation.
        counter: Counts them.
        examples: The dataset.
        spool: Has its texts.
        seed: Another seed counts other rows.
    """
    counted = examples.sample(MOST_COUNTED, seed=seed) if examples.height > MOST_COUNTED else examples
    lengths = counter.conversations(spool.read(counted))
    tokens, error = _extrapolated(
        lengths, counted["size"].to_list(), int(examples["size"].cast(int).sum()), examples.height
    )
    return TokenTotal(
        base_model=base_model,
        counter=counter.name,
        exact=counter.exact,
        window=window,
        rows=examples.height,
        tokens=tokens,
        error=error if counter.exact else None,
        lengths=lengths,
    )


def _extrapolated(lengths: list[int], sizes: list[int], all_bytes: int, rows: int) -> tuple[int, float]:
    """Return the tokens of all rows, and half of their 95% interval as a share."""
    n = len(lengths)
    if n == rows:
        return sum(lengths), 0.0
    ratio = sum(lengths) / sum(sizes)
    tokens = ratio * all_bytes
    spread = sum((length - ratio * size) ** 2 for length, size in zip(lengths, sizes, strict=True)) / (n - 1)
    deviation = rows * math.sqrt((1 - n / rows) * spread / n)
    return round(tokens), _Z_95 * deviation / tokens
