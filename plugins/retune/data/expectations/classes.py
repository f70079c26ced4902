"""Our expectations as Great Expectations' own kind of classes, by which suites name them."""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any, ClassVar

from retune.data.expectations.rules import Finding, find

_METRIC = "retune.finding"


_defining = Lock()


def register() -> None:
    """Make our expectations known to Great Expectations, in this process.

    Defining the classes registers them. It happens here since Great Expectations takes seconds to
    load. A stock rule calls Python for every row; one of these takes a whole column at once.
    """
    with _defining:
        _define()


@cache
def _define() -> None:
    _define_metric()
    base = _base()
    _define_row_rules(base)
    _define_shares(base)


def _define_metric() -> None:
    from great_expectations.core.metric_domain_types import MetricDomainTypes
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.expectations.metrics.metric_provider import metric_value
    from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

    class RetuneFinding(TableMetricProvider):
        metric_name = _METRIC
        value_keys = ("rule", "arguments")

        @metric_value(engine=PandasExecutionEngine)
        def _pandas(
            cls,
            execution_engine: Any,
            metric_domain_kwargs: dict[str, Any],
            metric_value_kwargs: dict[str, Any],
            metrics: dict[str, Any],
            runtime_configuration: dict[str, Any],
        ) -> Finding:
            table, _, _ = execution_engine.get_compute_domain(
                metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE
            )
            return find(metric_value_kwargs["rule"], table, metric_value_kwargs["arguments"])


def _base() -> Any:
    """Return what our expectations derive from: a least share of the rows must keep a rule."""
    from great_expectations.expectations.expectation import BatchExpectation
    from great_expectations.render.components import LegacyRendererType
    from great_expectations.render.renderer.renderer import renderer
    from great_expectations.validator.metric_configuration import MetricConfiguration

    class RetuneExpectation(BatchExpectation):
        says: ClassVar[str] = ""

        @classmethod
        def is_abstract(cls) -> bool:
            return not cls.says

        def get_validation_dependencies(self, *args: Any, **kwargs: Any) -> Any:
            found = super().get_validation_dependencies(*args, **kwargs)
            given = self._get_success_kwargs()
            domain = {"batch_id": given.pop("batch_id")}
            value = {"rule": self.expectation_type, "arguments": given}
            found.set_metric_configuration(_METRIC, MetricConfiguration(_METRIC, domain, value))
            return found

        def _passes(self, finding: Finding) -> bool:
            raise NotImplementedError

        def _validate(self, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
            finding: Finding = metrics[_METRIC]
            # Where nothing can be judged nothing is shown to be good.
            passes = finding.judged > 0 and self._passes(finding)
            return {"success": passes, "result": _result(finding)}

        @classmethod
        @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
        def _prescriptive_renderer(
            cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None
        ) -> list[Any]:
            kwargs = (configuration or result.expectation_config).kwargs
            return [_sentence(cls.says, {key: kwargs[key] for key in cls.success_keys if key in kwargs})]

    return RetuneExpectation


def _result(finding: Finding) -> dict[str, Any]:
    """Return what Great Expectations calls a result, with its names."""
    found = {
        "element_count": finding.rows,
        "missing_count": finding.rows - finding.judged,
        "unexpected_count": finding.broken,
        "unexpected_percent": 100 * finding.broken / finding.judged if finding.judged else None,
        "partial_unexpected_list": finding.values,
        "partial_unexpected_index_list": finding.places,
    }
    observed = finding.observed if finding.judged else "no rows that can be judged"
    return {**found, "observed_value": observed} if observed else found


def _sentence(says: str, kwargs: dict[str, Any]) -> Any:
    """Return the expectation in words; Great Expectations escapes what stands for a `$name`."""
    from great_expectations.render.components import RenderedStringTemplateContent

    template = {
        "template": "; ".join((says, *(f"{key}: ${key}" for key in kwargs))),
        "params": {key: f"{value}" for key, value in kwargs.items()},
        "styling": {"default": {"tag": "code"}},
    }
    return RenderedStringTemplateContent(content_block_type="string_template", string_template=template)


def _define_row_rules(base: Any) -> None:
    from great_expectations.compatibility.pydantic import Field

    class RetuneRowExpectation(base):  # type: ignore[misc]
        mostly: float = Field(default=1.0, ge=0, le=1)
        success_keys: ClassVar[tuple[str, ...]] = ("mostly",)

        def _passes(self, finding: Finding) -> bool:
            return finding.share >= self.mostly

    class ExpectConversationsToBeWellFormed(RetuneRowExpectation):
        says = "every row must be a conversation"

    class ExpectRolesToBeInOrder(RetuneRowExpectation):
        says = "turns must be in order: user and assistant by turns, tools after their calls"

    class ExpectConversationsToEndWithAssistant(RetuneRowExpectation):
        says = "the last turn must be the assistant's"

    class ExpectPromptsToNotBeEmpty(RetuneRowExpectation):
        says = "something must be asked"

    class ExpectCompletionsToNotBeEmpty(RetuneRowExpectation):
        says = "the answer to learn must not be empty"

    class ExpectTokensToFit(RetuneRowExpectation):
        max_tokens: int = Field(ge=1)
        success_keys = ("mostly", "max_tokens")
        says = "a conversation must not have more tokens"

    class ExpectLabelsToBeInSet(RetuneRowExpectation):
        labels: list[str] = Field(min_items=1)
        success_keys = ("mostly", "labels")
        says = "the label must be one of those listed"


def _define_shares(base: Any) -> None:
    from great_expectations.compatibility.pydantic import Field, root_validator

    class ExpectLanguageShare(base):  # type: ignore[misc]
        language: str = Field(regex="^[a-z]{2}$")
        min_share: float = Field(ge=0, le=1)
        success_keys = ("language", "min_share")
        says = "at least this share of what is asked must be in the language"

        def _passes(self, finding: Finding) -> bool:
            return finding.share >= self.min_share

    class ExpectLabelsToBeBalanced(base):  # type: ignore[misc]
        min_share: float | None = Field(default=None, gt=0, le=1)
        max_ratio: float | None = Field(default=None, ge=1)
        labels: list[str] | None = Field(default=None, min_items=1)
        success_keys = ("min_share", "max_ratio", "labels")
        says = "no label may be rarer: its share of the rows, or the most frequent one against it"

        @root_validator(skip_on_failure=True)
        def _bounds_something(cls, values: dict[str, Any]) -> dict[str, Any]:
            if values["min_share"] is None and values["max_ratio"] is None:
                raise ValueError("give min_share, max_ratio or both")
            return values

        def _passes(self, finding: Finding) -> bool:
            return not finding.values
