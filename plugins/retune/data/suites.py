"""Suites of expectations: the default of a task's kind, users' files, and what they must see of a row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from retune.data.expectations.rules import RULES
from retune.data.features import FEATURES
from retune.errors import DataError, Problem
from retune.spec import PipelineSpec

SEVERITIES = ("critical", "warning", "info")
"""Great Expectations' own: the first stops the run, the others warn."""

_WELL_FORMED = {"type": "expect_conversations_to_be_well_formed", "kwargs": {}}
# Great Expectations passes empty data, so the row count is never left to a suite.
_COUNTED = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
_MOSTLY = 0.9
_LARGEST_RATIO = 10
# The table that is judged has our columns too, and of the sources' only those that a suite names.
_WHOLE_TABLE = {
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
}


@dataclass(frozen=True)
class Suite:
    """Expectations as plain JSON: `{"type": ..., "kwargs": {...}, "severity": ...}`.

    Attributes:
        always: Checked whatever a suite says.
        chosen: The user's, or the default of the task's kind.
        file: Where the chosen ones are from; "" for the default.
    """

    always: tuple[dict[str, Any], ...]
    chosen: tuple[dict[str, Any], ...]
    file: str = ""

    @property
    def expectations(self) -> tuple[dict[str, Any], ...]:
        """All that are checked."""
        return (*self.always, *self.chosen)


class Needs(NamedTuple):
    """What a suite must see of each row."""

    columns: frozenset[str]
    """Columns of the sources, as they stand there."""
    features: frozenset[str]
    """Computed columns, of `FEATURES`."""


def suite_for(spec: PipelineSpec, file: Path | None = None) -> Suite:
    """Return what a pipeline's rows must meet.

    Args:
        spec: Says the task's kind, its labels and the recipes' lengths.
        file: The user's suite; None: the default of the task's kind.

    Raises:
        DataError: The file is no suite; names all that is wrong with it.
    """
    chosen = tuple(read_suite(file) if file else default_suite(spec))
    named = {expectation["type"] for expectation in chosen}
    always = tuple(item for item in (_COUNTED, _WELL_FORMED) if item is _COUNTED or item["type"] not in named)
    return Suite(always, chosen, str(file or ""))


def default_suite(spec: PipelineSpec) -> list[dict[str, Any]]:
    """Return the expectations for the kind of the spec's task, without those that are always checked."""
    # The least: a longer row stops the recipe that cannot take it. Tokens may be an upper bound.
    longest = min(spec.windows.values())
    found = [
        _expect("roles_to_be_in_order"),
        _expect("conversations_to_end_with_assistant"),
        # Empty ones are dropped and counted; many of them are a mistake.
        _expect("prompts_to_not_be_empty", mostly=_MOSTLY),
        _expect("completions_to_not_be_empty", mostly=_MOSTLY),
        _expect("tokens_to_fit", "warning", max_tokens=longest),
    ]
    labels = list(spec.task.labels)
    if labels:
        found.append(_expect("labels_to_be_in_set", mostly=_MOSTLY, labels=labels))
    if spec.task.kind == "classification":
        among: dict[str, Any] = {"labels": labels} if labels else {}
        found.append(_expect("labels_to_be_balanced", "warning", max_ratio=_LARGEST_RATIO, **among))
    return found


def _expect(what: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{what}", "kwargs": kwargs, "severity": severity}


def read_suite(file: Path) -> list[dict[str, Any]]:
    """Read a suite's JSON: `{"expectations": [{"type": ..., "kwargs": {...}, "severity": ...}]}`.

    Whether Great Expectations knows the types and their arguments, `validation.check` says.

    Raises:
        DataError: The file cannot be read, is no suite, or has expectations that cannot be used here.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        found = [_item(item) for item in value["expectations"]]
    except OSError as error:
        raise DataError(
            [Problem(f"cannot be read: {error}", "check data.expectations", str(file))]
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        what = f"not a Great Expectations suite: {type(error).__name__}: {error}"
        action = 'write {"expectations": [{"type": ..., "kwargs": {...}}]}'
        raise DataError([Problem(what, action, str(file))]) from error
    problems = [
        Problem(f"expectation {number} ({item['type']}): {what}", action, str(file))
        for number, item in enumerate(found, start=1)
        for what, action in _flaws(item)
    ]
    if problems:
        raise DataError(problems)
    return found


def _item(item: Any) -> dict[str, Any]:
    kind, kwargs = item["type"], item["kwargs"]
    if not isinstance(kind, str) or not isinstance(kwargs, dict):
        raise TypeError("type is text, kwargs an object")
    return {"type": kind, "kwargs": kwargs, "severity": item.get("severity") or SEVERITIES[0]}


def _flaws(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if item["severity"] not in SEVERITIES:
        what = f"severity {item['severity']!r:.60} is none"
        yield what, "write critical, which stops the run, or warning or info, which do not"
    loose = item["type"] == "expect_table_columns_to_match_set" and item["kwargs"].get("exact_match") is False
    if item["type"] in _WHOLE_TABLE or (item["type"].endswith("_columns_to_match_set") and not loose):
        what = "the table that is judged has other columns than the sources"
        yield what, "name each column that must be there: expect_column_to_exist"


def needs(suite: Suite) -> Needs:
    """Return what intake must keep of each row for a suite."""
    names: set[str] = set()
    for expectation in suite.expectations:
        kwargs = expectation["kwargs"]
        rule = RULES.get(expectation["type"])
        names.update(rule.columns if rule else ())
        for key in ("column", "column_A", "column_B", "column_list", "column_set"):
            value = kwargs.get(key)
            # What is neither text nor a list of it, Great Expectations refuses.
            names.update(
                text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)
            )
        names.update(_in_condition(kwargs.get("row_condition")))
    features = names & FEATURES.keys()
    return Needs(frozenset(names - features), frozenset(features))


def _in_condition(condition: Any) -> Iterator[str]:
    """Yield all that may be a column in a row condition; a word too many costs nothing."""
    if isinstance(condition, str):
        yield from re.findall(r"\w+", condition)
        yield from (text for _, text in re.findall(r"""(["'`])(.+?)\1""", condition))
    elif isinstance(condition, Mapping):
        for value in condition.values():
            yield from _in_condition(value)
    elif isinstance(condition, list | tuple):
        for value in condition:
            yield from _in_condition(value)
