"""The verbs of `<pipeline>.tune` that let people compare answers, without knowing whose they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLEntryOperator, HITLOperator
from airflow.sdk import Context, Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowSkipException

from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.operators.opinions import Opining
from retune.airflow.questions import require_shown
from retune.artifacts import canonical_json
from retune.evaluation.judging.pairs import BETTER
from retune.evaluation.judging.people import FIELD, Answered, Key, Sheet
from retune.records import Artifact, Outcome
from retune.spec import seconds
from retune.state import artifacts_index

_WORDS = {"first": "the first is better", "second": "the second is better", "tie": "neither is better"}


class PrepareReview(Opining):
    """Chooses what people compare and makes a page for each reviewer; returns a list of Sheets.

    The list is empty where the spec asks nobody, or no two answers differ: nobody is asked then.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Choose, and keep the pages."""
        from retune.evaluation.judging.people import choose

        spec, reports = self.inputs(context)
        people, rival = spec.evaluation.people, self.rival(reports)
        if people is None or not rival:
            return []
        chosen = choose(*self.both(reports, rival), people.examples, spec.seed)
        self.log.info("%d examples for each of %d reviewers", len(chosen), people.reviewers)
        if not chosen:
            return []
        found = []
        for number in range(1, people.reviewers + 1):
            page, placed = self._pages(number, chosen, spec.seed)
            sheet = Sheet(
                reviewer=number,
                rival=rival,
                page=page,
                placed=placed,
                examples=len(chosen),
                timeout=people.timeout,
            )
            found.append(sheet.model_dump(mode="json"))
        return found

    def _pages(
        self, reviewer: int, chosen: list[tuple[Outcome, Outcome]], seed: int
    ) -> tuple[Artifact, Artifact]:
        """Store what a reviewer sees, and where the candidate's answers stand on it."""
        from retune.evaluation.judging.page import page
        from retune.evaluation.judging.people import laid_out

        pairs, placed = laid_out(chosen, reviewer, seed)
        shown = self.artifacts.put_bytes(page(self.pipeline, pairs), "text/html")
        key = Key(placed=placed).model_dump(mode="json")
        kept = self.artifacts.put_bytes(canonical_json(key), "application/json")
        with self.db.write() as tx:
            artifacts_index.add(tx, self.pipeline, "review", shown, now())
            artifacts_index.add(tx, self.pipeline, "votes", kept, now())
        return shown, kept


class Review(RetuneOperator, HITLEntryOperator):
    """Lets one reviewer say of each example which answer is better; returns an Artifact: Answered.

    It asks as Airflow's HITLEntryOperator does, on the page "Required Actions", without a worker or a
    triggerer. Where nobody answers in `evaluation.people.timeout` the task ends well, with nothing Answered.

    Args:
        sheet: One of PrepareReview's Sheets.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, sheet: Any, **kwargs: Any) -> None:
        # What is asked is known once the examples are.
        super().__init__(subject="", **kwargs)
        self.sheet = sheet

    def execute(self, context: Context) -> None:
        """Leave the question for a person; raises AirflowFailException where other examples were shown."""
        sheet = self._shown(context)
        self.response_timeout = timedelta(seconds=seconds(sheet.timeout))
        self.params = form(sheet.examples)
        self.subject = f"{self.pipeline}: which answers are better? (reviewer {sheet.reviewer})"
        self.body = question(sheet, self.page)
        require_shown(self, context)
        HITLOperator.execute(self, context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Keep the answers."""
        from retune.evaluation.judging.people import read_form

        sheet = self._shown(context)
        # Fields are read here: of one that is wrong Airflow's own check would fail the whole review.
        given = super().execute_complete(context, {**event, "params_input": {}})
        user = given["responded_by_user"]
        found = Answered(reviewer=sheet.reviewer)
        if user:
            key = Key.model_validate_json(self.artifacts.get_bytes(sheet.placed.digest))
            better = read_form(event.get("params_input") or {}, key)
            found = Answered(reviewer=sheet.reviewer, by=str(user["id"]), better=better)
        stored = self.artifacts.put_bytes(canonical_json(found.model_dump(mode="json")), "application/json")
        with self.db.write() as tx:
            artifacts_index.add(tx, self.pipeline, "votes", stored, now())
        self.log.info("%d of %d examples were compared", len(found.better), sheet.examples)
        return stored.model_dump(mode="json")

    def _shown(self, context: Context) -> Sheet:
        sheet = Sheet.model_validate(self.read(self.sheet, context))
        self.page = self.page_of(sheet.page)
        # Read by the task's map_index_template.
        context["title"] = f"reviewer {sheet.reviewer}"  # type: ignore[typeddict-unknown-key]
        return sheet


class CountReviews(Opining):
    """Counts what reviewers said; returns Votes.

    Args:
        sheets: PrepareReview's Sheets.
        reviews: What Review returned; some may be missing.
        kwargs: As Opining.
    """

    def __init__(self, *, sheets: Any, reviews: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sheets = sheets
        self.reviews = reviews

    def execute(self, context: Context) -> dict[str, Any]:
        """Count those who answered; raises AirflowSkipException where the run evaluated nobody."""
        from retune.evaluation.judging.people import count_reviews
        from retune.evaluation.outcomes import read_outcomes

        spec, reports = self.inputs(context)
        if not reports:
            raise AirflowSkipException("the run ended before anybody was evaluated")
        sheets = [Sheet.model_validate(sheet) for sheet in self.read(self.sheets, context) or ()]
        kept = [Artifact.model_validate(one) for one in self.read(self.reviews, context) or ()]
        reviews = [Answered.model_validate_json(self.artifacts.get_bytes(one.digest)) for one in kept]
        outcomes = read_outcomes(reports["candidate"], self.artifacts)
        found = count_reviews(sheets, reviews, outcomes, spec=spec, artifacts=self.artifacts)
        if found.votes is not None:
            with self.db.write() as tx:
                artifacts_index.add(tx, self.pipeline, "votes", found.votes, now())
        self.log.info(found.sentence)
        return found.to_json()


def form(examples: int) -> ParamsDict:
    """Return the form's fields: a choice for each example, none made."""
    shown = {**_WORDS, "None": "not compared"}
    fields = {}
    for number in range(1, examples + 1):
        name = FIELD.format(number=number)
        fields[name] = Param(
            None,
            source="task",
            title=f"Example {number}",
            type=["null", "string"],
            enum=[*BETTER, None],
            values_display=shown,
        )
    return ParamsDict(fields)


def question(sheet: Sheet, page: str) -> str:
    """Return what a reviewer must know, as Markdown; the texts stand on the page only."""
    return (
        f"[Read the {sheet.examples} examples]({page}), each with two answers, and say below which is better."
        " Leave a field empty where you cannot tell.\n\n"
        "Please answer one form only, and without asking other reviewers. "
        f"Forms that nobody answers within {sheet.timeout} are not counted."
    )
