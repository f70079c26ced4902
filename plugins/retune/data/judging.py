"""All source rows before Great Expectations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.data.collect import Collected
from retune.data.features import to_table
from retune.data.spool import Spool
from retune.data.suites import Suite, needs
from retune.data.validation import Verdict, validate
from retune.spec import PipelineSpec
from retune.text.tokens import counter_for, upper_bound

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_BYTES_A_TOKEN = 4


def judge(collected: Collected, suite: Suite, spec: PipelineSpec, spool: Spool, project: Path) -> Verdict:
    """Let Great Expectations judge every row, also those that are left out later.

    Rows of people who are forgotten are not shown to it: its page tells values.

    Args:
        collected: All rows.
        suite: What they must meet.
        spec: The frozen spec.
        spool: Has the texts.
        project: Where the tokenizers of local base models lie.

    Raises:
        DataError: The suite names an unknown expectation, or one with bad arguments.
    """
    table = feature_table(collected, suite, spec, spool, project)
    return validate(table, suite, spec.pipeline, redacted=spec.data.privacy != "allow")


def feature_table(
    collected: Collected, suite: Suite, spec: PipelineSpec, spool: Spool, project: Path
) -> pd.DataFrame:
    """Return the table that is judged, with the columns that the suite needs.

    Args:
        collected: All rows.
        suite: Says which columns.
        spec: The frozen spec.
        spool: Has the texts.
        project: Where the tokenizers of local base models lie.
    """
    rows = collected.rows
    shown = ((rows["reason"] != "forgotten") | rows["reason"].is_null()).to_numpy()
    wanted = needs(suite)
    columns: dict[str, Sequence[Any]] = {}
    for name in ("retune_file", "retune_line", "retune_flaw", *sorted(wanted.features)):
        values = (
            _tokens(rows, spec, spool, project)
            if name == "retune_tokens"
            else rows[name.removeprefix("retune_")].to_pandas()
        )
        columns[name] = values[shown]
    for name in sorted(wanted.columns & collected.columns.keys()):
        kept = zip(collected.columns[name], shown, strict=True)
        columns[name] = [value for value, here in kept if here]
    return to_table(columns)


def _tokens(rows: pl.DataFrame, spec: PipelineSpec, spool: Spool, project: Path) -> pd.Series:
    """Return each conversation's tokens as far as the shortest window of the recipes needs them.

    Where the base model's tokenizer is not here, a token is taken for four bytes.
    """
    import polars as pl

    base_model, window = min(spec.windows.items(), key=lambda item: item[1])
    counter = counter_for(base_model, project)
    here = rows.filter(pl.col("size") > 0)
    found: list[int] | pl.Series
    if counter.exact:
        bounds = [upper_bound(size, turns) for size, turns in here.select("size", "turns").iter_rows()]
        found = counter.within(window, bounds, lambda some: spool.read(here[some]))
    else:
        found = here["size"] // _BYTES_A_TOKEN
    tokens = pl.Series("tokens", found, dtype=pl.Int32)
    places = rows.select(place=pl.when(pl.col("size") > 0).then((pl.col("size") > 0).cum_sum() - 1))
    return tokens.gather(places["place"]).to_pandas()
