"""The verbs of `<pipeline>.tune` that lay a learning curve: parts of the rows, and what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from retune.airflow.operators.base import now
from retune.airflow.operators.evaluate import Asked, Asking, let_go
from retune.artifacts import TREE
from retune.errors import DataError, RetuneError
from retune.evaluation.evidence import LearningCurve
from retune.records import Artifact, Dataset, EvalReport, Model, Recipe
from retune.spec import PipelineSpec
from retune.spec.budget import dollars
from retune.state import artifacts_index, subjects
from retune.state.database import serialise

if TYPE_CHECKING:
    from retune.advice.curve_plan import Part
    from retune.stats.learning_curve import Point

_DRAWN = 24
"""Sizes at which the fitted curve is drawn."""


class CutRows(Asking):
    """Cuts parts of the training rows for the recipe that won; returns what to train on what.

    That is `{"recipe", "dataset"}` for each part, the smallest first. Nothing where the winner is none of
    its recipes, where the spec asks for no curve, or where the rows are too few for one.

    Args:
        entries: ChooseCandidate's entries.
        recipes: A list of Recipes.
        kwargs: As OnDataset.
    """

    def __init__(self, *, entries: Any, recipes: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entries = entries
        self.recipes = recipes

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Cut; raises StateError where a person of the rows was forgotten meanwhile: cut again then."""
        from retune.advice.curve_plan import curve_plan, cut

        spec, dataset = self.inputs(context)
        winner, _ = winner_of(self.read(self.entries, context))
        recipes = [Recipe.from_json(one) for one in self.read(self.recipes, context) or ()]
        recipe = next((one for one in recipes if one.index == winner.recipe_index), None)
        sizes = curve_plan(spec.advice, dataset.train.rows)[:-1]
        if recipe is None or not sizes:
            why = "another kind of recipe won" if sizes else _none(spec, dataset)
            self.log.info("nothing to cut: %s", why)
            return []
        parts = cut(dataset, sizes, self.artifacts)
        self._register(dataset, parts)
        self.log.info("%s is trained on %s rows too", recipe.title, " and on ".join(map(str, sizes)))
        return [{"recipe": recipe.to_json(), "dataset": part.dataset.to_json()} for part in parts]

    def _register(self, dataset: Dataset, parts: list[Part]) -> None:
        """Note whom the parts' rows are about, so that `retune forget` finds what is trained on them."""
        from retune.text.conversations import read_conversation

        validation = self.artifacts.get_bytes(dataset.validation.artifact.digest)
        # A training reads this side too.
        beside = [read_conversation(line).id for line in validation.splitlines(keepends=True)]
        with self.db.write() as tx:
            serialise(tx, "rows")
            for part in parts:
                reached = (*part.row_ids, *beside)
                subjects.copy_reached(tx, self.pipeline, dataset.digest, part.dataset.digest, reached)
                for kept in (part.dataset.train.artifact, part.manifest):
                    artifacts_index.add(tx, self.pipeline, "asked", kept, now())


class LearnCurve(Asking):
    """Lets the parts' models answer the validation set, and lays a curve; returns a LearningCurve.

    A curve is told beside the decision and is no part of it: where a point is missing there is none, and
    its sentence says why.

    Args:
        entries: ChooseCandidate's entries.
        cuts: What each CutRows returned.
        models: Lists of the Models that were trained on the parts; those that failed are not among them.
        kwargs: As OnDataset.
    """

    def __init__(self, *, entries: Any, cuts: list[Any], models: list[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entries = entries
        self.cuts = cuts
        self.models = models

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask and lay the curve; raises AirflowSkipException where the run has no candidate."""
        entries = self.read(self.entries, context)
        if not entries:
            raise AirflowSkipException("the run ended before there was a candidate")
        spec, dataset = self.inputs(context)
        parts = [
            Dataset.from_json(one["dataset"]) for some in self.cuts for one in self.read(some, context) or ()
        ]
        models = [Model.from_json(model) for some in self.models for model in self.read(some, context) or ()]
        winner, whole = winner_of(entries)
        try:
            reports = self._asked(parts, models, spec, dataset, context["run_id"])
            curve = laid([*zip(parts, reports, strict=True), (dataset, whole)], winner, spec)
        except RetuneError as error:
            curve = LearningCurve(points=(), sentence=f"There is no learning curve: {error}.")
        self.log.info(curve.sentence)
        return asdict(curve)

    def _asked(
        self, parts: list[Dataset], models: list[Model], spec: PipelineSpec, dataset: Dataset, run_id: str
    ) -> list[EvalReport]:
        from retune.advice.curve_plan import curve_plan
        from retune.evaluation.contenders import contender_of

        if not curve_plan(spec.advice, dataset.train.rows):
            raise DataError(_none(spec, dataset))
        # More than one a part: of another winner, before somebody cleared the choice.
        if not parts or len(models) != len(parts):
            what = (
                f"{len(models)} of {len(parts)} trainings on parts succeeded"
                if parts
                else "no parts were cut"
            )
            raise DataError(what, "see the tasks that cut and train them")
        reports = []
        for part, model in zip(parts, models, strict=True):
            name = f"part-{part.train.rows}"
            asked = Asked(contender_of(name, model, spec), model, "validation", dataset.validation)
            try:
                reports.append(self.ask(asked, spec, dataset, run_id))
            finally:
                let_go(self.db, spec, run_id, name)
            self._keep(model)
        return reports

    def _keep(self, model: Model) -> None:
        """Keep the model as long as pages: no release names it, and the next run need not train it again."""
        if model.kind != "adapter":
            return
        size = len(self.artifacts.get_bytes(model.digest))
        tree = Artifact(digest=model.digest, uri=model.uri, size=size, media_type=TREE)
        with self.db.write() as tx:
            # Like the rows that were asked: `retune forget` takes it for no page that shows them.
            artifacts_index.add(tx, self.pipeline, "asked", tree, now())


def winner_of(entries: list[dict[str, Any]]) -> tuple[Model, EvalReport]:
    """Return the candidate's model and its report on the validation set, of ChooseCandidate's entries."""
    first = entries[0]["peers"][0]
    return Model.from_json(first["model"]), EvalReport.from_json(first["report"])


def laid(judged: Sequence[tuple[Dataset, EvalReport]], winner: Model, spec: PipelineSpec) -> LearningCurve:
    """Lay a curve through trainings of one recipe.

    Args:
        judged: Each training's dataset, and what came of it on the validation set; the whole last.
        winner: The model of the whole: what it cost is taken for the price of a row.
        spec: The frozen spec.

    Raises:
        DataError: A report has no score, or less of the metric is better.
        EndpointError: More calls failed than the gate allows.
    """
    from retune.advice.curve import curve_finding
    from retune.evaluation.selection import choose
    from retune.stats.learning_curve import Point, fit

    metric, (whole, _) = spec.gate.metric, judged[-1]
    # Refuses what cannot be compared.
    choose([report for _, report in judged], spec)
    if not judged[-1][1].metrics[metric].higher_is_better:
        raise DataError(f"less {metric} is better, and a curve is laid through scores that rise")
    points = [
        Point(dataset.train.rows, report.metrics[metric].value, report.metrics[metric].n)
        for dataset, report in judged
    ]
    per_row = None if winner.cost_usd is None else winner.cost_usd / whole.train.rows
    finding = curve_finding(points, per_row, spec)
    curve = fit(points, spec.gate.confidence, spec.seed)
    todo = f" To do: {finding.action}." if finding.action else ""
    return LearningCurve(
        points=tuple((point.examples, point.score, point.n) for point in points),
        predicted=tuple((size, *curve.score(size)) for size in _sizes(points)),
        sentence=finding.sentence + todo,
    )


def curve_from_json(data: dict[str, Any]) -> LearningCurve:
    """Read what LearnCurve returned."""
    return LearningCurve(
        points=tuple((rows, score, n) for rows, score, n in data["points"]),
        predicted=tuple((rows, score, low, high) for rows, score, low, high in data["predicted"]),
        sentence=data["sentence"],
    )


def with_curve(costs: list[dict[str, Any]], parts: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Add to what recipes cost the dearest curve of one, as nobody knows yet which recipe will win.

    Args:
        costs: `{"title", "usd", "basis"}` of each recipe on all rows; not empty.
        parts: The same of each recipe on each part, in the recipes' order.

    Returns:
        The costs with the curve's added to the recipe whose parts cost most. Where a price of a part is
        not known, that recipe's is not known either.
    """
    curves = [[part[place]["usd"] for part in parts] for place in range(len(costs))]
    known = [None if None in curve else sum(curve) for curve in curves]
    dearest = max(range(len(costs)), key=lambda place: known[place] or 0.0)
    found = []
    for place, (cost, usd) in enumerate(zip(costs, known, strict=True)):
        added = cost
        if usd is None:
            why = next(part[place]["basis"] for part in parts if part[place]["usd"] is None)
            added = cost | {"usd": None, "basis": f"{cost['basis']}; its learning curve: {why}"}
        elif place == dearest and usd and cost["usd"] is not None:
            basis = f"{cost['basis']}; and {dollars(usd)} for its learning curve"
            added = cost | {"usd": cost["usd"] + usd, "basis": basis}
        found.append(added)
    return found


def _sizes(points: Sequence[Point]) -> list[int]:
    """Return sizes from the smallest part's to twice the whole's, at even ratios."""
    least, most = points[0].examples, 2 * points[-1].examples
    return [round(least * (most / least) ** (step / _DRAWN)) for step in range(_DRAWN + 1)]


def _none(spec: PipelineSpec, dataset: Dataset) -> str:
    """Say why there is no plan of a curve."""
    if not spec.advice.learning_curve:
        return "the spec that this run froze asks for none"
    return f"{dataset.train.rows} rows to train on are too few to be cut"
