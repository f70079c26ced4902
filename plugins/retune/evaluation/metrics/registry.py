"""How metrics are found by name, and which of them a spec asks for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from retune.errors import Problem, SetupError, SpecError
from retune.evaluation.metrics.base import Metric, ScoresExamples, Task
from retune.spec import PipelineSpec

GROUP = "retune.metrics"
# Also reachable where the package is a folder without metadata.
BUILT_IN = {
    "accuracy": "retune.evaluation.metrics.accuracy:Accuracy",
    "bleu": "retune.evaluation.metrics.bleu:Bleu",
    "chrf": "retune.evaluation.metrics.chrf:Chrf",
    "embedding_similarity": "retune.evaluation.metrics.embedding_similarity:EmbeddingSimilarity",
    "exact_match": "retune.evaluation.metrics.exact_match:ExactMatch",
    "field_f1": "retune.evaluation.metrics.field_f1:FieldF1",
    "macro_f1": "retune.evaluation.metrics.macro_f1:MacroF1",
    "per_label": "retune.evaluation.metrics.per_label:PerLabel",
    "perplexity": "retune.evaluation.metrics.perplexity:Perplexity",
    "rouge": "retune.evaluation.metrics.rouge:Rouge",
    "rules": "retune.evaluation.metrics.style_rules:StyleRules",
    "valid_json": "retune.evaluation.metrics.valid_json:ValidJSON",
    "valid_label": "retune.evaluation.metrics.valid_label:ValidLabel",
    "weighted_f1": "retune.evaluation.metrics.weighted_f1:WeightedF1",
}
DEFAULTS = {
    "classification": ("accuracy", "macro_f1", "valid_label"),
    "generation": ("accuracy", "chrf", "rouge"),
    "extraction": ("field_f1", "valid_json", "accuracy"),
}
"""Kind of task -> what is measured without being asked for."""


def known_metrics() -> dict[str, str]:
    """Return name -> where it is, of every metric that is installed; nobody replaces a built-in one."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)} | BUILT_IN


def load_metric(name: str) -> Metric:
    """Return the metric of that name, built in or from the entry-point group `retune.metrics`.

    Args:
        name: As a spec names it.

    Raises:
        SpecError: No such metric is installed.
        SetupError: It cannot be loaded, or its package calls it otherwise.
    """
    found = known_metrics()
    if name not in found:
        raise SpecError(
            f"no metric is called {name!r}; installed are {', '.join(sorted(found))}",
            f"name one of them, or install the package that brings it (entry point {GROUP})",
        )
    module, _, attribute = found[name].partition(":")
    try:
        make: Callable[[], Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SetupError(f"metric {name!r} cannot be loaded: {error}", "install it again") from error
    metric: Metric = make()
    if metric.name != name:
        raise SetupError(
            f"the metric of entry point {name!r} calls itself {metric.name!r}", "ask its makers to mend it"
        )
    return metric


def metrics_for(spec: PipelineSpec, task: Task) -> list[Metric]:
    """Return what is measured: the gate's metric, those of the task's kind, and those the spec adds.

    Args:
        spec: The frozen spec.
        task: What answers are held against.

    Raises:
        SpecError: Lists every metric that is unknown or means nothing for the task, and a gate's metric
            that has no score for an example.
        SetupError: A metric cannot be loaded.
    """
    wanted = {spec.gate.metric: "gate.metric"}
    for name in (*DEFAULTS[task.kind], *(("rules",) if task.rules else ())):
        wanted.setdefault(name, "task.kind")
    for name in spec.evaluation.metrics:
        wanted.setdefault(name, "evaluation.metrics")
    problems: list[Problem] = []
    found = []
    for name, place in wanted.items():
        try:
            metric = load_metric(name)
        except SpecError as error:
            problems += [Problem(f"{place}: {one.what}", one.action) for one in error.problems]
            continue
        found.append(metric)
        if reason := metric.unfit(task):
            problems.append(Problem(f"{place}: {name} means nothing here: {reason}", "name another"))
        elif place == "gate.metric" and not isinstance(metric, ScoresExamples):
            problems.append(_unpaired(name, task))
    if problems:
        raise SpecError(problems)
    return found


def _unpaired(name: str, task: Task) -> Problem:
    metrics = [load_metric(other) for other in sorted(BUILT_IN)]
    fit = [one.name for one in metrics if isinstance(one, ScoresExamples) and not one.unfit(task)]
    return Problem(
        f"gate.metric: {name} has no score for an example, so that contenders cannot be compared by it",
        f"name one that has, such as {', '.join(fit)}; {name} may stand in evaluation.metrics",
    )
