"""What our expectations compute: whole columns of the feature table at once, never row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Mask = npt.NDArray[np.bool_]
    Judge = Callable[[pd.DataFrame, Mapping[str, Any]], "Finding"]

_SHOWN = 20
_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes:
        rows: All rows.
        judged: Those that the rule can say something of.
        broken: Those that break it.
        values: What the first of them hold.
        places: Where these stand: `retune_file` and `retune_line`.
        observed: What was seen, where counts do not say it.
    """

    rows: int
    judged: int
    broken: int
    values: list[Any] = field(default_factory=list)
    places: list[dict[str, Any]] = field(default_factory=list)
    observed: str = ""

    @property
    def share(self) -> float:
        """Of the judged rows those that keep the rule."""
        return (self.judged - self.broken) / self.judged


@dataclass(frozen=True)
class Rule:
    """A rule over the feature table.

    Attributes:
        columns: The computed columns that it reads.
        judge: Returns what it found, given the table and the expectation's arguments.
    """

    columns: tuple[str, ...]
    judge: Judge


def find(rule: str, table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
    """Judge a table by a rule.

    Args:
        rule: A key of `RULES`.
        table: The feature table.
        arguments: The expectation's own arguments.

    Raises:
        LookupError: The table lacks a column.
    """
    missing = [name for name in RULES[rule].columns if name not in table]
    if missing:
        why = "; only a classification has labels" if missing == ["retune_label"] else ""
        raise LookupError(f"column {missing[0]!r} does not exist{why}")
    return RULES[rule].judge(table, arguments)


def _flawed(table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
    flaws = table["retune_flaw"]
    broken = flaws.notna().to_numpy()
    return _found(table, np.ones(len(table), dtype=bool), broken, flaws)


def _untrue(column: str) -> Judge:
    def judge(table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
        # A row with a flaw breaks one rule, not all of them.
        judged = (table[column].notna() & table["retune_flaw"].isna()).to_numpy()
        true = table[column].to_numpy(dtype=bool, na_value=False)
        return _found(table, judged, judged & ~true)

    return judge


def _empty(column: str) -> Judge:
    def judge(table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
        judged = table[column].notna().to_numpy()
        return _found(table, judged, judged & (table[column].to_numpy(dtype="int64", na_value=1) == 0))

    return judge


def _too_long(table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
    tokens = table["retune_tokens"]
    broken = tokens.to_numpy(dtype="int64", na_value=0) > arguments["max_tokens"]
    return _found(table, tokens.notna().to_numpy(), broken, tokens)


def _unlisted(table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
    return _not_among(table, "retune_label", arguments["labels"])


def _other_language(table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
    return _not_among(table, "retune_language", [arguments["language"]])


def _not_among(table: pd.DataFrame, column: str, allowed: list[str]) -> Finding:
    """Find values of a column that are not allowed; what is empty is not judged."""
    values = table[column].astype("category").cat
    names = values.categories
    # The last one stands for null, whose code is -1.
    judged = np.append(names != "", False)[values.codes]
    listed = np.append(names.isin(allowed), False)[values.codes]
    return _found(table, judged, judged & ~listed, table[column])


def _unbalanced(table: pd.DataFrame, arguments: Mapping[str, Any]) -> Finding:
    values = table["retune_label"].astype("category").cat
    names = values.categories
    numbers = np.bincount(values.codes[values.codes >= 0], minlength=len(names)).tolist()
    seen = {str(name): count for name, count in zip(names, numbers, strict=True) if name and count}
    # Rows of labels outside the set are dropped later, so they say nothing about balance.
    wanted = arguments.get("labels")
    counts = {label: seen.get(label, 0) for label in wanted} if wanted else seen
    rows, largest = sum(counts.values()), max(counts.values(), default=0)
    least = rows * (arguments.get("min_share") or 0)
    ratio = arguments.get("max_ratio") or rows
    rare = {
        label: count
        for label, count in sorted(counts.items(), key=lambda item: (item[1], item[0]))
        if count < least or count * ratio < largest
    }
    most = max(counts, key=lambda label: counts[label], default="")
    observed = (
        f"{_said(rare, rows)}; most: {_said({most: largest}, rows)}" if rare else f"{len(counts)} labels"
    )
    return Finding(len(table), rows, sum(rare.values()), list(rare)[:_SHOWN], observed=observed)


def _said(counts: Mapping[str, int], rows: int) -> str:
    shown = [f"{name!r:.60} {count} ({count / max(rows, 1):.2%})" for name, count in counts.items()]
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more


def _found(table: pd.DataFrame, judged: Mask, broken: Mask, values: pd.Series | None = None) -> Finding:
    first = np.flatnonzero(broken)[:_SHOWN]
    files, lines = (table[name].iloc[first].tolist() for name in ("retune_file", "retune_line"))
    places = [{"retune_file": file, "retune_line": line} for file, line in zip(files, lines, strict=True)]
    shown = values.iloc[first].tolist() if values is not None else []
    return Finding(len(table), int(judged.sum()), int(broken.sum()), shown, places)


RULES = {
    "expect_conversations_to_be_well_formed": Rule(("retune_flaw",), _flawed),
    "expect_roles_to_be_in_order": Rule(("retune_roles_in_order",), _untrue("retune_roles_in_order")),
    "expect_conversations_to_end_with_assistant": Rule(
        ("retune_ends_with_assistant",), _untrue("retune_ends_with_assistant")
    ),
    "expect_prompts_to_not_be_empty": Rule(("retune_prompt_chars",), _empty("retune_prompt_chars")),
    "expect_completions_to_not_be_empty": Rule(
        ("retune_completion_chars",), _empty("retune_completion_chars")
    ),
    "expect_tokens_to_fit": Rule(("retune_tokens",), _too_long),
    "expect_labels_to_be_in_set": Rule(("retune_label",), _unlisted),
    "expect_labels_to_be_balanced": Rule(("retune_label",), _unbalanced),
    "expect_language_share": Rule(("retune_language",), _other_language),
}
"""Type of the expectation -> what it computes."""
