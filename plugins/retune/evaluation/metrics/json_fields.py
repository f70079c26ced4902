"""A JSON value as its fields, and how alike two are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

Fields = Counter[tuple[str, str]]
"""(path, value as JSON) -> how often it stands there."""


def fields_of(value: Any, form: Callable[[str], str]) -> Fields:
    """Return the leaves of a JSON value, each with its path; items of a list share one.

    So the order of a list does not count, as in the field-level F1 of Donut (Kim et al. 2022, "OCR-free
    Document Understanding Transformer", ECCV, section 4.2; `JSONParseEvaluator.cal_f1` in its code).
    An empty object or list is a leaf itself.

    Args:
        value: As `read_json` returned it.
        form: Brings a text to the form in which it is compared.
    """
    return Counter(_leaves(value, "$", form))


def same_json(first: Any, second: Any, form: Callable[[str], str]) -> bool:
    """Say whether two JSON values are equal: the order of keys does not count, that of a list does."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            same_json(value, second[key], form) for key, value in first.items()
        )
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(
            same_json(one, other, form) for one, other in zip(first, second, strict=True)
        )
    if isinstance(first, dict | list) or isinstance(second, dict | list):
        return False
    return _leaf(first, form) == _leaf(second, form)


def _leaves(value: Any, path: str, form: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{json.dumps(key)}", form)
    elif isinstance(value, list) and value:
        for part in value:
            yield from _leaves(part, f"{path}[]", form)
    else:
        yield path, _leaf(value, form)


def _leaf(value: Any, form: Callable[[str], str]) -> str:
    """Return a plain value as JSON; 1 and 1.0 are one number, and true is none."""
    if isinstance(value, str):
        value = form(value)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)
