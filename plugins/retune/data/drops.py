"""Examples that are left out, each with its reason."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from retune.artifacts import canonical_json
from retune.data.spool import Spool

if TYPE_CHECKING:
    import polars as pl

REASONS = {
    "malformed": "its turns are no question with an answer",
    "forgotten": "its subject was forgotten",
    "empty": "nothing asked, or no answer",
    "personal_data": "holds personal data, and data.privacy is reject",
    "filtered": "data.where leaves it out",
    "unlisted_label": "its label is not in task.labels",
    "duplicate": "a copy of another row",
    "conflict": "the same prompt stands under another label too",
    "near_duplicate": "nearly the same prompt and the same label as another row",
    "label_error": "its label is likely wrong, and data.label_errors is drop",
    "capped": "over data.caps",
    "bridges_split": "close to rows on two sides of the split",
    "was_held_out": "a row that was once held out asks the same",
}
"""Reason -> what it says about a row, in the order of the steps."""


class Drops:
    """All examples that were left out, in the order of the steps."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []

    def add(self, examples: pl.DataFrame, reason: str, detail: str = "") -> None:
        """Note examples that are left out.

        Args:
            examples: Rows of the table of examples; a column `detail` says more on each.
            reason: A key of `REASONS`; KeyError where it is none.
            detail: Said of all, where there is no such column.
        """
        import polars as pl

        REASONS[reason]
        if examples.height:
            said = [] if "detail" in examples.columns else [pl.lit(detail).alias("detail")]
            self._frames.append(examples.with_columns(*said, reason=pl.lit(reason)))

    @property
    def frame(self) -> pl.DataFrame:
        """The examples with `reason` and `detail`; a frame without columns where there is none."""
        import polars as pl

        return pl.concat(self._frames, how="diagonal") if self._frames else pl.DataFrame()

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> rows, in the order of the steps, every reason named."""
        found = dict.fromkeys(REASONS, 0)
        for frame in self._frames:
            found[frame["reason"][0]] += frame.height
        return found

    def names(self, reasons: Collection[str]) -> Iterator[tuple[str, str]]:
        """Yield fingerprint and reason of what was left out for these reasons."""
        for frame in self._frames:
            if frame["reason"][0] in reasons:
                yield from frame.select("fingerprint", "reason").iter_rows()

    def lines(self, spool: Spool) -> Iterator[bytes]:
        """Yield one JSON line a row: reason, detail, file, line, whom it is about, and the cleaned row.

        Whom it is about is a hash, for `retune forget`. Of a forgotten person's row only its place
        is said.
        """
        for frame in self._frames:
            for row in frame.iter_slices(10_000):
                yield from _lines(row, spool)


def _lines(frame: pl.DataFrame, spool: Spool) -> Iterator[bytes]:
    import polars as pl

    kept = spool.lines(frame.filter(pl.col("size") > 0))
    said: Any
    for said in frame.select("reason", "detail", "file", "line", "subject", "size").iter_rows(named=True):
        row = json.loads(next(kept)) if said.pop("size") else None
        yield canonical_json({**said, "row": row}) + b"\n"
