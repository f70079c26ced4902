"""The table that Great Expectations judges: what is known of every row, a column each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

FEATURES = {
    "retune_file": "category",
    "retune_line": "int64",
    "retune_flaw": "category",
    "retune_roles_in_order": "boolean",
    "retune_ends_with_assistant": "boolean",
    "retune_turns": "Int32",
    "retune_prompt_chars": "Int32",
    "retune_completion_chars": "Int32",
    "retune_tokens": "Int32",
    "retune_label": "category",
    "retune_language": "category",
}
"""Computed column -> its dtype; all but file and line may be null, which no rule counts."""

# More of a text changes no verdict, and costs its length.
_LANGUAGE_CHARS = 300


def to_table(columns: Mapping[str, Sequence[Any] | pl.Series]) -> pd.DataFrame:
    """Return the columns as a table, its rows numbered from 0.

    A row costs about 36 bytes with all of the computed columns.

    Args:
        columns: Computed columns (`FEATURES`), and columns of the sources as they stand there; a
            value that a row lacks is None. Series of polars are ten times quicker than lists.
    """
    import pandas as pd

    return pd.DataFrame({name: _series(values, FEATURES.get(name)) for name, values in columns.items()})


def _series(values: Sequence[Any] | pl.Series, dtype: str | None) -> pd.Series:
    import pandas as pd
    import polars as pl

    if isinstance(values, pl.Series):
        series = values.to_pandas()
        return series.astype(dtype) if dtype else series
    return pd.Series(values, dtype=dtype)


def language_of(texts: Sequence[str]) -> list[str]:
    """Name each text's language by ISO 639-1, or "" where nothing in it tells.

    Of a text its first 300 characters are read. A few words alone are often taken for another
    language. About 10,000 texts a second of 80 characters, 4,000 of 300 or more; 0.7 s and 90 MB
    to load.
    """
    from py3langid.langid import RAW_FLOOR

    identify = _identifier().classify
    found = (identify(text[:_LANGUAGE_CHARS]) for text in texts)
    return [language if score > RAW_FLOOR else "" for language, score in found]


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # An instance of our own: restricting the module's would change it for everyone in the process.
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages([code for code in identifier.labels if len(code) == 2])
    return identifier
