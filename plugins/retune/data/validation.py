"""Are the source rows good? Great Expectations answers, and its page is kept."""

from __future__ import annotations

import html
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.data.intake import SourceRow
from retune.errors import DataError, Problem

# The page's scripts and styles come from the web, which the page may not reach where it is served.
_FROM_THE_WEB = re.compile(r"<script.*?</script>|<link[^>]*>|<footer>.*?</footer>", re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """What the suite said.

    Attributes:
        failures: Each failed expectation with what was observed.
        expectations: How many were checked.
        page: Great Expectations' page; all that comes from rows is escaped in it.
    """

    failures: list[str]
    expectations: int
    page: bytes


def validate(rows: list[SourceRow], suite: Path, name: str) -> Verdict:
    """Run a suite over all source rows, and always a row count.

    Args:
        rows: All rows as they stand in the sources.
        suite: The suite's JSON: `{"expectations": [{"type": ..., "kwargs": {...}}]}`.
        name: What the page calls the suite: the pipeline.

    Raises:
        DataError: The suite cannot be read or names an unknown expectation.
    """
    # Great Expectations passes empty data, so the row count is never left to the suite.
    counted = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    result = _run(rows, suite, [counted, *_read_suite(suite)], name)
    failures = [_sentence(item) for item in result.results if not item.success]
    return Verdict(failures, len(result.results), _page(result))


def _read_suite(suite: Path) -> list[dict[str, Any]]:
    try:
        value = json.loads(suite.read_text(encoding="utf-8"))
        expectations = [{"type": item["type"], "kwargs": item["kwargs"]} for item in value["expectations"]]
    except OSError as error:
        raise DataError(
            [Problem(f"cannot be read: {error}", "check data.expectations", str(suite))]
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        what = f"not a Great Expectations suite: {type(error).__name__}: {error}"
        action = 'write {"expectations": [{"type": ..., "kwargs": {...}}]}'
        raise DataError([Problem(what, action, str(suite))]) from error
    return expectations


def _run(rows: list[SourceRow], suite: Path, expectations: list[dict[str, Any]], name: str) -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # some releases phone home unless told not to
    import great_expectations as gx
    import pandas as pd
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    context: Any = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    checked = []
    problems = []
    for number, expectation in enumerate(expectations):
        try:
            checked.append(ExpectationConfiguration(**expectation).to_domain_obj())
        except Exception as error:  # unknown types and bad arguments raise many kinds
            what = f"expectation {number} ({expectation['type']}): {error}"
            problems.append(Problem(what, "see greatexpectations.io/expectations", str(suite)))
    if problems:
        raise DataError(problems)
    source = context.data_sources.add_pandas("sources").add_dataframe_asset("rows")
    definition = gx.ValidationDefinition(
        name=name,
        data=source.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add(gx.ExpectationSuite(name=name, expectations=checked)),
    )
    frame = pd.DataFrame([row.values for row in rows])
    return context.validation_definitions.add(definition).run(batch_parameters={"dataframe": frame})


def _sentence(item: Any) -> str:
    kwargs = {key: value for key, value in item.expectation_config.kwargs.items() if key != "batch_id"}
    said = f"{item.expectation_config.type}({', '.join(f'{k}={v!r:.80}' for k, v in kwargs.items())})"
    result = item.result or {}
    if result.get("observed_value") is not None:
        return f"{said}: observed {result['observed_value']!r:.200}"
    if "unexpected_percent" in result:
        seen = ", ".join(f"{value!r:.60}" for value in result.get("partial_unexpected_list", [])[:3])
        share = f"{result['unexpected_count']} of {result['element_count']} rows"
        percent = f"{result['unexpected_percent'] or 0:.2f}%"
        return f"{said}: observed {share} ({percent}) that break it, such as {seen}"
    return f"{said}: {_exception(item.exception_info) or 'observed nothing'}"


def _exception(info: Any) -> str:
    """Return the first message in exception info, which is flat or keyed by metric."""
    for part in (info, *(value for value in info.values() if isinstance(value, dict))):
        if part.get("exception_message"):
            return str(part["exception_message"]).strip()
    return ""


def _page(result: Any) -> bytes:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    # The page's template prints values of rows as they are: a row could script the reader's browser.
    for item in result.results:
        item.result = _escaped(item.result)
        item.exception_info = _escaped(item.exception_info)
    view: Any = DefaultJinjaPageView()
    page = str(view.render(ValidationResultsPageRenderer().render(result)))
    style = (Path(__file__).parent / "validation_page.css").read_text()
    page = _FROM_THE_WEB.sub("", page).replace("</head>", f"<style>{style}</style></head>", 1)
    return page.encode("utf-8", "replace")


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_escaped(item) for item in value]
    return value
