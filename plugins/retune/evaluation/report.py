"""The page of an evaluation: one self-contained HTML file without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.evaluation import contender_plots, plots
from retune.evaluation.comparison import Difference, against, differences, slice_scores
from retune.evaluation.differences import confusions, cut, label_pairs, lost, won, word_diff
from retune.evaluation.evidence import Evidence, described, upper_end
from retune.records import Check, Decision, EvalReport, Model
from retune.spec import LocalRecipe, OpenAIRecipe, PipelineSpec, VertexRecipe
from retune.stats.training_curves import ALARMS, diagnose, turning_point

if TYPE_CHECKING:
    from markupsafe import Markup

_EXAMPLES = 12
_ROWS = 10
_P_VALUES = ("p", "adjusted_p", "mcnemar_p")
"""Figures that are 0 only where they are too small for a number."""
_KINDS = {
    "claim": "What must be shown",
    "guard": "What vetoes once harm is shown",
    "precondition": "What must hold at all",
}


def render(evidence: Evidence) -> str:
    """Return the page that shows how contenders did; text of users is escaped.

    Args:
        evidence: What was measured, and what was made of it.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "ms": _milliseconds, "cut": cut, "dollars": _dollars}
    gains = differences(evidence)
    html = environment.get_template("report.html.j2").render(
        evidence=evidence,
        spec=evidence.spec,
        decision=evidence.decision,
        dataset=evidence.dataset,
        model=evidence.model,
        subject=evidence.subject,
        described=described,
        upper_end=upper_end,
        p_values=_P_VALUES,
        checks=_checks(evidence.decision),
        gains=gains,
        per_label=_per_label(evidence.report),
        **_training(evidence),
        **_plots(evidence, gains),
        **_examples(evidence),
    )
    # An answer may hold half of a surrogate pair, which no file can.
    return html.encode("utf-8", "replace").decode()


def figure(value: float | None) -> str:
    """Return a number as the page shows it; nothing where there is none."""
    if value is None:
        return ""
    if not isfinite(value):
        return "not a number"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.1e}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


def _dollars(value: float) -> str:
    return f"${value:,.4f}" if value < 1 else f"${value:,.2f}"


def _checks(decision: Decision | None) -> list[tuple[str, list[Check]]]:
    if decision is None:
        return []
    grouped = [
        (title, [one for one in decision.checks if one.kind == kind]) for kind, title in _KINDS.items()
    ]
    return [(title, checks) for title, checks in grouped if checks]


def _per_label(report: EvalReport) -> dict[str, dict[str, float]]:
    """Return label -> what -> value of figures such as `precision[billing]`."""
    found: dict[str, dict[str, float]] = {}
    for name, value in report.metrics.items():
        what, bracket, label = name.partition("[")
        if bracket:
            found.setdefault(label.removesuffix("]"), {})[what] = value.value
    return found


def _training(evidence: Evidence) -> dict[str, Any]:
    """Return what is shown of the training, in sentences and as a plot."""
    model = evidence.model
    findings = diagnose(model.curves, _keeps_best(evidence.spec, model)) if model else []
    drawn = plots.curves(model.curves, turning_point(findings)) if model else ""
    return {"findings": findings, "alarms": ALARMS, "curves": _markup(drawn)}


def _keeps_best(spec: PipelineSpec, model: Model) -> bool | None:
    """Say whether the model is the checkpoint with the best validation loss; None: its backend knows."""
    recipe = spec.candidates[model.recipe_index]
    if isinstance(recipe, OpenAIRecipe | VertexRecipe):
        return recipe.checkpoint == "best"
    return True if isinstance(recipe, LocalRecipe) else None


def _plots(evidence: Evidence, gains: Sequence[Difference]) -> dict[str, Any]:
    metric, subject, contenders = evidence.metric, evidence.subject, evidence.contenders
    values = {name: one.metrics[metric] for name, one in contenders if metric in one.metrics}
    parts = slice_scores(evidence)
    limit = evidence.spec.gate.latency_p95_ms if evidence.decision else None
    measured = {name: one.latency for name, one in contenders if one.latency}
    curve = evidence.beside.learning_curve
    return {
        "forest": _markup(contender_plots.forest(values, gains, metric, subject)),
        "slices": [
            (
                column,
                own := [part for part in parts if part.column == column],
                _markup(contender_plots.slices(own, subject, evidence.rival)),
            )
            for column in evidence.slice_columns
        ],
        "most_slices": contender_plots.MOST_SLICES,
        "latency": _markup(plots.latency(measured, limit / 1000 if limit else None)),
        "learning_curve": _markup(plots.learning_curve(curve, metric) if curve and curve.points else ""),
        "confusion": _markup(
            contender_plots.confusion(evidence.outcomes[subject], evidence.labels) if evidence.labels else ""
        ),
    }


def _examples(evidence: Evidence) -> dict[str, Any]:
    """Return the examples on which subject and rival part, and the labels they went between."""
    mine, rival = evidence.outcomes[evidence.subject], evidence.rival
    pairs = against(evidence, rival) if rival else []
    sides = {"won": won(pairs), "lost": lost(pairs)}
    named = bool(evidence.labels)
    return {
        "rival": rival,
        "totals": {side: len(found) for side, found in sides.items()},
        "examples": [(side, pair) for side, found in sides.items() for pair in found[:_EXAMPLES]],
        "word_diff": word_diff,
        "label_pairs": {side: label_pairs(found)[:_ROWS] for side, found in sides.items()} if named else {},
        "confusions": confusions(mine)[:_ROWS] if named else [],
    }


def _markup(svg: str) -> Markup:
    from markupsafe import Markup

    # Matplotlib escapes the text that it draws.
    return Markup(svg)
