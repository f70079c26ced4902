"""List filters against their meaning in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.testing.emulators.vertex_filters import label_equalities, parse_filter
from retune.testing.emulators.vertex_refusals import VertexRefused

FIELDS = {"state": "state", "display_name": "displayName", "labels": "labels", "parents": "parents"}
Meaning = Callable[[dict[str, Any]], bool]
WORDS = st.sampled_from(["a", "b", "c d"])


def equality(value: str) -> tuple[str, Meaning]:
    return f'state="{value}"', lambda body: body["state"] == value


def label(value: str) -> tuple[str, Meaning]:
    return f'labels.key = "{value}"', lambda body: body["labels"].get("key") == value


def both(pair: tuple[tuple[str, Meaning], tuple[str, Meaning]]) -> tuple[str, Meaning]:
    (left, is_left), (right, is_right) = pair
    return f"({left} AND {right})", lambda body: is_left(body) and is_right(body)


def either(pair: tuple[tuple[str, Meaning], tuple[str, Meaning]]) -> tuple[str, Meaning]:
    (left, is_left), (right, is_right) = pair
    return f"({left} OR {right})", lambda body: is_left(body) or is_right(body)


def negated(one: tuple[str, Meaning]) -> tuple[str, Meaning]:
    text, means = one
    return f"NOT {text}", lambda body: not means(body)


FILTERS = st.recursive(
    WORDS.map(equality) | WORDS.map(label),
    lambda inner: (
        st.tuples(inner, inner).map(both) | st.tuples(inner, inner).map(either) | inner.map(negated)
    ),
    max_leaves=6,
)
BODIES = st.fixed_dictionaries({"state": WORDS, "labels": st.dictionaries(st.just("key"), WORDS)})


@given(FILTERS, BODIES)
def test_a_filter_takes_what_it_says(one: tuple[str, Meaning], body: dict[str, Any]) -> None:
    text, means = one
    assert parse_filter(text, FIELDS)(body) == means(body)


@given(st.text(max_size=30))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        takes = parse_filter(text, FIELDS)
    except VertexRefused as refused:
        assert refused.status == 400 and "Invalid filter" in refused.message
    else:
        assert takes({"state": "a", "labels": {}}) in (True, False)


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("", True),
        ("labels.key:*", True),
        ("labels:key", True),
        ("labels.other:*", False),
        ('display_name:"tick*"', True),
        ('display_name="tick*"', False),
        ('parents:"projects/1"', True),
        ('display_name!="x" AND display_name>"a"', True),
        (r'display_name="a \"quoted\" name"', False),
    ],
)
def test_maps_lists_and_wildcards_are_matched(text: str, takes: bool) -> None:
    body = {"displayName": "tickets", "labels": {"key": "v"}, "parents": ["projects/1", "projects/2"]}
    assert parse_filter(text, FIELDS)(body) is takes


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True),
        st.from_regex(r"[a-z0-9-]{1,5}", fullmatch=True),
        max_size=3,
    )
)  # noqa: E501
def test_labels_alone_are_told_from_other_filters(labels: dict[str, str]) -> None:
    text = " AND ".join(f'labels.{key}="{value}"' for key, value in labels.items())
    assert label_equalities(text) == labels
    assert parse_filter(text, FIELDS)({"labels": labels})
    assert label_equalities(f"{text} OR state=a") is None
    assert label_equalities("labels.key:*") is None
