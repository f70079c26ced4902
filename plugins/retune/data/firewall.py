"""What was ever held out never enters training, nor what models are chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from retune.data.drops import Drops
from retune.text import near_duplicates

if TYPE_CHECKING:
    import polars as pl

    from retune.data.duplicates import Rows, Signatures


def stop_leaks(
    examples: pl.DataFrame,
    watched: Rows,
    signatures: Signatures,
    held_out: Mapping[str, bytes | None],
    threshold: float,
    drops: Drops,
) -> pl.DataFrame:
    """Leave out examples that ask what the pipeline once held out.

    The registry knows fingerprints and signatures, never texts: it may outlive a row whose text
    had to be erased.

    Args:
        examples: The examples of a dataset.
        watched: Which rows would be trained on or chosen by; the others stay.
        signatures: One a watched row.
        held_out: Fingerprint -> signature of all that was ever held out; None where it was
            registered without one, so that only an exact copy is found.
        threshold: Similarity from which an example is an edited copy.
        drops: Takes what is left out.
    """
    import polars as pl

    known = [signature for signature in held_out.values() if signature is not None]
    near = near_duplicates.matches(signatures, near_duplicates.from_bytes(known), threshold)
    exact = examples["fingerprint"][watched].is_in(pl.Series(list(held_out), dtype=pl.String).implode())
    how = pl.select(pl.when(exact).then(pl.lit("exact")).when(pl.Series(near) >= 0).then(pl.lit("near")))
    detail = pl.repeat(None, examples.height, dtype=pl.String, eager=True).scatter(watched, how.to_series())
    drops.add(examples.with_columns(detail=detail).filter(detail.is_not_null()), "was_held_out")
    return examples.filter(detail.is_null())
