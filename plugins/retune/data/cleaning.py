"""What is made of a text, and which examples are left out of a dataset."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import TYPE_CHECKING

from retune.data.drops import Drops
from retune.spec.data import Caps

if TYPE_CHECKING:
    import polars as pl

# Line feeds and tabs belong to a text; other control characters and a stray byte order mark do not.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_SHOWN = 3


def clean_text(text: str) -> str:
    """Return a text in Unicode NFC, without control characters and without white space around it.

    Line ends become line feeds. See Unicode Standard Annex 15 on NFC.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # Without a control character between them, a letter and its accent are one character.
    return unicodedata.normalize("NFC", _CONTROL.sub("", text)).strip()


def drop_unlisted(examples: pl.DataFrame, labels: Collection[str], drops: Drops) -> pl.DataFrame:
    """Leave out what has another label; an empty list of labels means all."""
    import polars as pl

    if not labels:
        return examples
    listed = pl.col("label").is_in(list(labels))
    drops.add(examples.filter(~listed).with_columns(detail=pl.col("label")), "unlisted_label")
    return examples.filter(listed)


def drop_duplicates(examples: pl.DataFrame, drops: Drops) -> pl.DataFrame:
    """Keep one example an id, whatever the order of the sources; returns them sorted by id."""
    import polars as pl

    # Copies may differ in white space and in what is said of them: which one stays must not depend on
    # where it stands.
    examples = examples.sort("id", "mark", "group", "slices", "time", "stratum", "subject", "file", "line")
    place = pl.format("of {}:{}", pl.col("file").first(), pl.col("line").first()).over("id")
    copies = examples.filter(pl.col("id").is_duplicated()).with_columns(detail=place)
    drops.add(copies.filter(~pl.col("id").is_first_distinct()), "duplicate")
    return examples.filter(pl.col("id").is_first_distinct())


def drop_conflicts(examples: pl.DataFrame, drops: Drops) -> pl.DataFrame:
    """Leave out every example of a prompt that stands under several labels."""
    import polars as pl

    # Copies are gone, so what shares a prompt differs in its label.
    shared = pl.col("fingerprint").is_duplicated()
    place = pl.format("{} at {}:{}", pl.col("label"), pl.col("file"), pl.col("line"))
    all_of_them = place.sort().head(_SHOWN).str.join(", ").over("fingerprint")
    drops.add(examples.filter(shared).with_columns(detail=all_of_them), "conflict")
    return examples.filter(~shared)


def seeded(hashes: pl.Expr, seed: int) -> pl.Expr:
    """Return what orders rows by a hash of 64 digits in a way that the seed decides."""
    first = seed % 64
    return hashes.str.slice(first) + hashes.str.head(first)


def cap(examples: pl.DataFrame, caps: Caps, earlier: pl.Series, seed: int, drops: Drops) -> pl.DataFrame:
    """Leave out what is over the caps, by a seeded choice that prefers rows of earlier datasets.

    Args:
        examples: Sorted by id.
        caps: Most examples a label and a source.
        earlier: Fingerprints that have a side already.
        seed: Another seed is another choice.
        drops: Takes what is left out.
    """
    import polars as pl

    for column, most in (("label", caps.label), ("file", caps.source)):
        if most is not None:
            new = ~pl.col("fingerprint").is_in(earlier.implode())
            order = pl.struct(new, seeded(pl.col("id"), seed)).rank("ordinal").over(column)
            count = pl.len().over(column)
            said = pl.format("{} has {} examples, {} may stay", column, count, pl.lit(most))
            ranked = examples.with_columns(rank=order, detail=said)
            drops.add(ranked.filter(pl.col("rank") > most).drop("rank"), "capped")
            examples = ranked.filter(pl.col("rank") <= most).drop("rank", "detail")
    return examples
