"""The head of a drift page."""

from __future__ import annotations

from retune.monitoring.page import EMPTY, with_summary
from retune.records import DriftedColumn


def test_text_stays_text() -> None:
    column = DriftedColumn(name="<b>", method="<i>", score=0.5, threshold=0.1, drifted=True)
    page = with_summary(EMPTY, "<script>1</script>", "'<img src=x>'", [column])
    assert "<script>" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;1&lt;/script&gt;" in page
    assert page.startswith("<!DOCTYPE html>")
    assert "0.500" in page


def test_without_columns_there_is_no_table() -> None:
    assert "<table" not in with_summary(EMPTY, "title", "reason", [])
