from __future__ import annotations

import os
import re
import socket
import sys
from typing import Any

import pytest

from retune.data.suites import Suite
from retune.data.validation import Verdict, check, validate
from retune.errors import DataError
from tests.unit.data.tables import FLAWED, table_of

HOSTILE = "<img src=x onerror=alert(1)>"
ALLOWED = ["billing", "returns"]
QUEUES = [HOSTILE if line == 7 else ALLOWED[line % 2] for line in range(1, 41)]
COUNTED = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}


def suite_of(*expectations: tuple[str, dict[str, Any], str]) -> Suite:
    chosen = [
        {"type": f"expect_{name}", "kwargs": kwargs, "severity": severity}
        for name, kwargs, severity in expectations
    ]
    return Suite((COUNTED,), tuple(chosen), "suite.json")


LINES: list[tuple[str, tuple[Any, ...]]] = []
_watched: list[bool] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watched and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        LINES.append((event, args))


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    """One run over a table of 40 rows, with the network watched."""
    planted = {
        3: FLAWED,
        4: {"retune_completion_chars": 0},
        9: {"retune_completion_chars": 0},
        11: {"retune_tokens": 900},
        12: {"retune_label": HOSTILE},
    }
    table = table_of(40, planted, queue=QUEUES, Overview=list(range(40)))
    sys.addaudithook(_hook)  # can never be taken away again
    _watched.append(True)
    try:
        return validate(
            table,
            suite_of(
                ("conversations_to_be_well_formed", {}, "critical"),
                ("roles_to_be_in_order", {}, "critical"),
                ("completions_to_not_be_empty", {"mostly": 0.95}, "critical"),
                ("tokens_to_fit", {"max_tokens": 512}, "warning"),
                ("labels_to_be_in_set", {"labels": [*ALLOWED, "R&D<script>alert(2)"]}, "info"),
                ("labels_to_be_balanced", {"max_ratio": 10}, "warning"),
                ("column_values_to_be_in_set", {"column": "queue", "value_set": ALLOWED}, "critical"),
                (
                    "column_values_to_be_in_set",
                    {"column": "queue", "value_set": ["x"], "row_condition": "retune_line > 38"}
                    | {"condition_parser": "pandas"},
                    "critical",
                ),
                ("column_values_to_be_between", {"column": "Overview", "max_value": 38}, "warning"),
                ("column_values_to_not_be_null", {"column": "customer"}, "critical"),
                ("language_share", {"language": "en", "min_share": 0.9}, "critical"),
            ),
            "tickets",
        )
    finally:
        _watched.clear()


def test_what_stops_and_what_warns(verdict: Verdict) -> None:
    assert verdict.expectations == 12
    assert verdict.failures[:4] == [
        "expect_conversations_to_be_well_formed(): observed 1 of 40 rows (2.50%) that break it,"
        " such as '<script>alert(1)</script> is no role' (rows.jsonl:3)",
        "expect_completions_to_not_be_empty(mostly=0.95): observed 2 of 39 rows (5.13%) that break it,"
        " such as rows.jsonl:4, rows.jsonl:9",
        "expect_column_values_to_be_in_set(column='queue', value_set=['billing', 'returns']):"
        f" observed 1 of 40 rows (2.50%) that break it, such as {HOSTILE!r} (rows.jsonl:7)",
        verdict.failures[3],
    ]
    # A condition leaves rows out, and the places are still those of the source.
    assert "observed 2 of 2 rows (100.00%)" in verdict.failures[3]
    assert verdict.failures[3].endswith("such as 'returns' (rows.jsonl:39), 'billing' (rows.jsonl:40)")
    assert 'column "customer" in BatchData does not exist' in verdict.failures[4]
    assert len(verdict.failures) == 5
    assert verdict.warnings == [
        "expect_tokens_to_fit(max_tokens=512): observed 1 of 39 rows (2.56%) that break it,"
        " such as 900 (rows.jsonl:11)",
        f"expect_labels_to_be_in_set(labels=['billing', 'returns', 'R&D<script>alert(2)']):"
        f" observed 1 of 39 rows (2.56%) that break it, such as {HOSTILE!r} (rows.jsonl:12)",
        f"expect_labels_to_be_balanced(max_ratio=10.0): observed {HOSTILE!r} 1 (2.56%);"
        " most: 'billing' 19 (48.72%)",
        "expect_column_values_to_be_between(column='Overview', max_value=38.0):"
        " observed 1 of 40 rows (2.50%) that break it, such as 39 (rows.jsonl:40)",
    ]


def test_the_page_shows_places_and_severities_and_is_harmless(verdict: Verdict) -> None:
    page = verdict.page.decode()
    for place in ("rows.jsonl:3", "rows.jsonl:4", "rows.jsonl:7", "rows.jsonl:40"):
        assert place in page
    assert page.count("Severity") == 4  # a table each for what has no column, queue, Overview and customer
    shown = {word for word in ("critical", "warning", "info") if re.search(rf">\s*{word}\s*<", page)}
    assert shown == {"critical", "warning", "info"}
    assert _status(verdict) == "Failed"
    assert "<script" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page and "&lt;img src=x" in page and "R&amp;D&lt;script&gt;" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|url\(|@import""", page)


def test_nothing_phones_home(verdict: Verdict) -> None:
    assert LINES == []
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    # The watch sees what it is to see.
    _watched.append(True)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("127.0.0.1", 9))
    finally:
        _watched.clear()
    assert [event for event, _ in LINES] == ["socket.connect"]
    LINES.clear()


def _status(verdict: Verdict) -> str:
    found = re.search(r"Status:.*?(Succeeded|Failed)", verdict.page.decode(), re.DOTALL)
    return found[1] if found else ""


def test_only_warnings_leave_the_page_s_status_good() -> None:
    verdict = validate(table_of(4), suite_of(("tokens_to_fit", {"max_tokens": 1}, "warning")), "tickets")
    assert verdict.failures == [] and len(verdict.warnings) == 1
    assert _status(verdict) == "Succeeded"


def test_no_rows_never_pass() -> None:
    expectations = (
        ("roles_to_be_in_order", {}, "critical"),
        ("column_values_to_be_in_set", {"column": "queue", "value_set": ALLOWED}, "critical"),
    )
    verdict = validate(table_of(0, queue=[]), suite_of(*expectations), "tickets")
    assert verdict.failures == [
        "expect_table_row_count_to_be_between(min_value=1): observed 0",
        "expect_roles_to_be_in_order(): observed no rows that can be judged",
    ]


def test_all_that_great_expectations_does_not_take_is_told_together() -> None:
    suite = suite_of(
        ("column_values_to_be_lovely", {}, "critical"),
        ("column_to_exist", {"column": "a"}, "critical"),
        ("tokens_to_fit", {}, "critical"),
        ("labels_to_be_in_set", {"labels": []}, "critical"),
        ("language_share", {"language": "English", "min_share": 2}, "critical"),
        ("language_share", {"language": "en", "min_share": 1, "mostly": 0.9}, "critical"),
        ("labels_to_be_balanced", {}, "critical"),
        ("roles_to_be_in_order", {"mostly": 1.1}, "critical"),
    )
    with pytest.raises(DataError) as caught:
        check(suite)
    said = [problem.what for problem in caught.value.problems]
    for what, (number, word) in zip(
        said,
        {
            1: "lovely",
            3: "max_tokens field required",
            4: "labels ensure this value has at least 1 items",
            5: "min_share ensure this value is less than or equal to 1",
            6: "mostly extra fields not permitted",
            7: "give min_share, max_ratio or both",
            8: "mostly ensure this value is less than or equal to 1",
        }.items(),
        strict=True,
    ):
        assert what.startswith(f"expectation {number} (expect_") and word in what
    assert {problem.file for problem in caught.value.problems} == {"suite.json"}


@pytest.mark.parametrize("redacted", [True, False])
def test_personal_data_is_shown_only_where_the_spec_allows_it(redacted: bool) -> None:
    mail = "ann@example.org"
    contacts = [mail if line == 3 else "none" for line in range(1, 11)]
    suite = suite_of(
        ("column_values_to_be_in_set", {"column": "contact", "value_set": ["none"]}, "critical"),
        ("column_values_to_be_between", {"column": "card", "max_value": 100}, "warning"),
    )
    table = table_of(10, {}, contact=contacts, card=[101] * 9 + [4111111111111111])
    found = validate(table, suite, "tickets", redacted=redacted)
    page = found.page.decode()
    told = page + str(found.failures) + str(found.warnings)
    assert (mail in told) is not redacted and ("4111111111111111" in told) is not redacted
    assert ("EMAIL_1" in page) is redacted and ("EMAIL_1" in found.failures[0]) is redacted
    # Counts and places are nobody's data.
    assert "1 of 10 rows (10.00%)" in found.failures[0] and "rows.jsonl:3" in found.failures[0]
    assert "10 of 10 rows (100.00%)" in found.warnings[0]
