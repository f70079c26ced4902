"""Are the rows good? Great Expectations answers over all of them, and its page is kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retune.data.expectations import register
from retune.data.suites import SEVERITIES, Suite
from retune.data.validation_page import examples, page_of, without_personal_data
from retune.errors import DataError, Problem

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 3


@dataclass(frozen=True)
class Verdict:
    """What the suite said.

    Attributes:
        failures: Each failed expectation that stops the run, with what was observed and where.
        warnings: Each failed one that does not.
        expectations: How many were checked.
        page: Great Expectations' page; all that comes from rows is escaped in it.
    """

    failures: list[str]
    warnings: list[str]
    expectations: int
    page: bytes


def check(suite: Suite) -> list[Any]:
    """Return the suite's expectations as Great Expectations has them.

    Raises:
        DataError: Names every unknown expectation and every argument that it does not take.
    """
    # Some releases phone home unless told not to.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    register()
    found, problems = [], []
    # Those that are always checked count for nothing: numbers are those of the user's file.
    for number, expectation in enumerate(suite.expectations, start=1 - len(suite.always)):
        try:
            found.append(ExpectationConfiguration(**expectation).to_domain_obj())
        except Exception as error:  # unknown types and bad arguments raise many kinds
            what = f"expectation {number} ({expectation['type']}): {' '.join(str(error).split())}"
            problems.append(
                Problem(what, "see the docs on data, and greatexpectations.io/expectations", suite.file)
            )
    if problems:
        raise DataError(problems)
    return found


def validate(table: pd.DataFrame, suite: Suite, name: str, redacted: bool = True) -> Verdict:
    """Run a suite over all rows.

    Args:
        table: The feature table with the columns that the suite needs; see `features.to_table`.
        suite: What the rows must meet.
        name: What the page calls the suite: the pipeline.
        redacted: Whether values are shown without personal data.

    Raises:
        DataError: The suite names an unknown expectation, or one with bad arguments.
    """
    result = _run(table, check(suite), name)
    for item in result.results:
        _name_places(item.result or {}, table)
        if redacted:
            item.result = without_personal_data(item.result)
    failed = [item for item in result.results if not item.success]
    stops = [_sentence(item) for item in failed if item.expectation_config.severity.value == SEVERITIES[0]]
    warns = [_sentence(item) for item in failed if item.expectation_config.severity.value != SEVERITIES[0]]
    return Verdict(stops, warns, len(result.results), page_of(result))


def _run(table: pd.DataFrame, expectations: Sequence[Any], name: str) -> Any:
    import great_expectations as gx
    from great_expectations.execution_engine import pandas_execution_engine

    # A fingerprint that is only printed would cost more than all expectations, and three times the table.
    pandas_execution_engine.HASH_THRESHOLD = 0
    # Nothing is written to disk, so several processes may do this at once.
    context: Any = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=list(expectations)))
    source = context.data_sources.add_pandas("sources").add_dataframe_asset("rows")
    data = source.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=name, data=data, suite=suite)
    )
    result = definition.run(batch_parameters={"dataframe": table})
    # Those that could not be computed come first; a reader looks for the suite's order.
    order = {expectation.id: number for number, expectation in enumerate(suite.expectations)}
    result.results.sort(key=lambda item: order[item.expectation_config.id])
    return result


def _name_places(result: dict[str, Any], table: pd.DataFrame) -> None:
    """Say file and line where a stock rule says the number of a row."""
    rows = result.get("partial_unexpected_index_list") or []
    if rows and not isinstance(rows[0], dict):
        places = table.loc[rows, ["retune_file", "retune_line"]].to_dict("records")
        result["partial_unexpected_index_list"] = places


def _sentence(item: Any) -> str:
    kwargs = {key: value for key, value in item.expectation_config.kwargs.items() if key != "batch_id"}
    said = f"{item.expectation_config.type}({', '.join(f'{k}={v!r:.80}' for k, v in kwargs.items())})"
    result = item.result or {}
    observed = result.get("observed_value")
    if observed is not None:
        return f"{said}: observed {observed if isinstance(observed, str) else repr(observed):.500}"
    if "unexpected_percent" in result:
        judged = result["element_count"] - result.get("missing_count", 0)
        share = f"{result['unexpected_count']} of {judged} rows ({result['unexpected_percent'] or 0:.2f}%)"
        return f"{said}: observed {share} that break it, such as {', '.join(examples(result)[:_SHOWN])}"
    return f"{said}: {_exception(item.exception_info) or 'observed nothing'}"


def _exception(info: Any) -> str:
    """Return the first message in exception info, which is flat or keyed by metric."""
    for part in (info, *(value for value in info.values() if isinstance(value, dict))):
        if part.get("exception_message"):
            return str(part["exception_message"]).strip()
    return ""
