"""How long a service asks to be left alone, and what an error means for the questions after it."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.evaluation.patience import refusal_of, retry_after

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "Thu, 26 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Thu, 26 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 26 Nov 2026 12:01:30 -0000"}, 90.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_seconds_and_dates_are_understood(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, NOW) == expected


@given(st.text(), st.text())
def test_no_header_can_do_harm(first: str, second: str) -> None:
    found = retry_after({"retry-after-ms": first, "retry-after": second}, NOW)
    assert found is None or 0 <= found < math.inf


@pytest.mark.parametrize(
    ("status", "said", "may_pass", "ends"),
    [
        (400, "too long", False, False),
        (401, "no key", False, True),
        (408, "slow", True, False),
        (409, "locked", True, False),
        (422, "odd", False, False),
        (429, "rate limit", True, False),
        (429, "code: insufficient_quota", True, True),
        (500, "oops", True, False),
        (529, "overloaded", True, False),
    ],
)
def test_each_status_means_what_it_says(status: int, said: str, may_pass: bool, ends: bool) -> None:
    found = refusal_of(status, said, {}, {401: "put a key", 429: "pay", 500: ""}, 0.5)
    assert (found.may_pass, bool(found.action)) == (may_pass, ends)
    assert found.is_limit == (status == 429)


def test_a_service_that_names_a_time_is_left_alone_by_everybody() -> None:
    assert refusal_of(503, "busy", {"retry-after": "5"}, {}, 0.5).is_limit
