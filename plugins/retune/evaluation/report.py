"""The decision's page: one self-contained HTML file without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from retune.evaluation import plots
from retune.records import Dataset, Decision, EvalReport, Model, Outcome
from retune.spec import LocalRecipe, OpenAIRecipe, PipelineSpec, VertexRecipe
from retune.stats.training_curves import ALARMS, diagnose, turning_point

_SHOWN = 12
_ORDER = ("base", "champion", "candidate")


def page(
    spec: PipelineSpec,
    dataset: Dataset,
    decision: Decision,
    reports: Mapping[str, EvalReport],
    outcomes: Mapping[str, Sequence[Outcome]],
    model: Model,
) -> str:
    """Return the page that shows a decision with its evidence; text of users is escaped.

    Args:
        spec: The frozen spec.
        dataset: What was trained and judged on.
        decision: What the gate said.
        reports: Contender name -> report; `candidate` and `base` among them.
        outcomes: The same keys: per-example outcomes.
        model: The candidate's model.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    rival = "champion" if "champion" in reports else "base"
    won, lost = _pairs(outcomes["candidate"], outcomes[rival])
    ordered = [reports[name] for name in _ORDER if name in reports]
    findings = diagnose(model.curves, _keeps_best(spec, model))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html.j2").render(
        spec=spec,
        dataset=dataset,
        decision=decision,
        reports=ordered,
        metrics=list(ordered[0].metrics),
        model=model,
        rival=rival,
        won=won[:_SHOWN],
        lost=lost[:_SHOWN],
        won_total=len(won),
        lost_total=len(lost),
        figure=_figure,
        # Matplotlib escapes the text that it draws.
        forest=Markup(plots.forest(ordered)),
        curves=Markup(plots.curves(model.curves, turning_point(findings))),
        findings=findings,
        alarms=ALARMS,
        confusion=Markup(plots.confusion(outcomes["candidate"], dataset.labels) if dataset.labels else ""),
    )


def _keeps_best(spec: PipelineSpec, model: Model) -> bool | None:
    """Say whether the model is the checkpoint with the best validation loss; None: its backend knows."""
    recipe = spec.candidates[model.recipe_index]
    if isinstance(recipe, OpenAIRecipe | VertexRecipe):
        return recipe.checkpoint == "best"
    return True if isinstance(recipe, LocalRecipe) else None


def _pairs(
    mine: Sequence[Outcome], theirs: Sequence[Outcome]
) -> tuple[list[tuple[Outcome, Outcome]], list[tuple[Outcome, Outcome]]]:
    by_id = {outcome.id: outcome for outcome in theirs}
    pairs = [(outcome, by_id[outcome.id]) for outcome in mine if outcome.id in by_id]
    won = [(one, other) for one, other in pairs if one.correct and not other.correct]
    lost = [(one, other) for one, other in pairs if other.correct and not one.correct]
    return won, lost


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) >= 1 else f"{value:.3f}"
