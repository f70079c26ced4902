"""Great Expectations' own page of a run, made safe and complete in itself."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retune.text import privacy

# The page's scripts, styles and pictures come from the web, which it may not reach where it is served.
_FROM_THE_WEB = re.compile(
    r"""<script.*?</script>|<link[^>]*>|<img[^>]*>|<footer>.*?</footer>|url\(['"]https?:[^'"]*['"]\)""",
    re.DOTALL,
)
_VALUES = {"value", "observed_value"}
_NO_COLUMN = "Table-Level Expectations"


def examples(result: dict[str, Any]) -> list[str]:
    """Return the first rows that break an expectation: what each holds, and where it stands.

    Args:
        result: Great Expectations' result of the expectation.
    """
    values = [f"{value!r:.60}" for value in result.get("partial_unexpected_list") or []]
    rows = result.get("partial_unexpected_index_list") or []
    places = [f"{row['retune_file']}:{row['retune_line']}" for row in rows]
    if not values or not places:
        return values or places
    return [f"{value} ({place})" for value, place in zip(values, places, strict=False)]


def without_personal_data(value: Any) -> Any:
    """Return what Great Expectations observed, with placeholders for personal data in texts and numbers.

    Args:
        value: Its result of an expectation, or a part of it.
    """
    if isinstance(value, dict):
        # Counts and shares are under keys of their own; below these three stand values of rows.
        return {
            key: without_personal_data(item) if key in _VALUES or not isinstance(item, int | float) else item
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_personal_data(item) for item in value]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        [shown], found = privacy.redact([str(value)])
        return shown if found else value
    return value


def page_of(result: Any) -> bytes:
    """Return the page; it changes the result, so take all else from it before.

    Args:
        result: Great Expectations' result of the suite.
    """
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    for item in result.results:
        _prepare(item)
    # A failure that only warns does not make the run fail, so neither the page's status.
    result.success = all(item.success for item in result.results if _stops(item))
    view: Any = DefaultJinjaPageView()
    document = ValidationResultsPageRenderer().render(result)
    _add_severities(document, result.results)
    page = str(view.render(document))
    style = (Path(__file__).parent / "validation_page.css").read_text()
    page = _FROM_THE_WEB.sub("", page).replace("</head>", f"<style>{style}</style></head>", 1)
    return page.encode("utf-8", "replace")


def _stops(item: Any) -> bool:
    return bool(item.expectation_config.severity.value == "critical")


def _prepare(item: Any) -> None:
    """Show where the rows stand and what a failure does; escape all that is from rows."""
    shown = dict(item.result or {})
    if shown.get("partial_unexpected_index_list"):
        shown["partial_unexpected_list"] = examples(shown)
        # It would be shown instead, and says nothing of places.
        shown.pop("partial_unexpected_counts", None)
    # The page's template prints values of rows as they are: a row could script the reader's browser.
    item.result = _escaped(shown)
    item.exception_info = _escaped(item.exception_info)


def _add_severities(document: Any, results: Sequence[Any]) -> None:
    """Put each expectation's severity beside it; Great Expectations shows it nowhere."""
    of_section = defaultdict(list)
    for item in results:
        config = item.expectation_config
        of_section[config.kwargs.get("column", _NO_COLUMN)].append(config.severity.value)
    for section in document.sections[1:]:  # the first one is the overview
        for table in (block for block in section.content_blocks if getattr(block, "header_row", None)):
            table.header_row.append("Severity")
            for row, severity in zip(table.table, of_section[section.section_name], strict=True):
                row.append([severity])


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_escaped(item) for item in value]
    return value
