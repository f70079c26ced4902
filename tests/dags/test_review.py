"""Reviewers compare answers blind, each on a form of their own, and those who answer are counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from retune.artifacts import canonical_json
from retune.evaluation.judging.votes import Votes
from retune.records import Artifact, Contender, EvalReport, Outcome
from retune.state import specs
from tests.dags.asking import Answer, Asking, asking, returned
from tests.dags.conftest import House, states
from tests.dags.test_artifact_pages import bearer, client  # noqa: F401
from tests.unit.serving.builders import until

DAG_FILE = """\
from airflow.sdk import DAG, TriggerRule, chain, task
from retune.airflow.operators.review import CountReviews, PrepareReview, Review

with DAG("{name}.review", default_args={{"retries": 0}}, params={{"force": False}}) as dag:

    @task
    def evaluate():
        return {reports!r}

    reports = evaluate()
    common = {{"pipeline": "{name}"}}
    prepare = PrepareReview(task_id="prepare_review", spec="{digest}", reports=reports, **common)
    review = Review.partial(task_id="review", map_index_template="{{{{ title }}}}", **common).expand(
        sheet=prepare.output
    )
    count = CountReviews(
        task_id="count_reviews",
        spec="{digest}",
        reports=reports,
        sheets=prepare.output,
        reviews=review.output,
        trigger_rule=TriggerRule.NONE_FAILED,
        **common,
    )
    chain(reports, prepare, review, count)
"""
PEOPLE = "people: {reviewers: 2, examples: 5, timeout: 48h}"
EXAMPLES = 8


@dataclass
class Reviews:
    """A DAG of nothing but two evaluations and what people say of them."""

    asking: Asking

    @property
    def house(self) -> House:
        return self.asking.house

    def run(self, people: str, answer: Answer | None = None, rival: str = "The old answer") -> Any:
        """Run it to its end; `answer` is called with the run's id once the run waits."""
        text = self.house.file.read_text()
        text = text.replace("{endpoint: vllm_test}", f"{{endpoint: vllm_test, {people}}}", 1)
        self.house.file.write_text(text)
        with self.house.db.write() as tx:
            digest = specs.freeze(tx, self.house.spec, datetime.now(UTC))
        reports = [self.report("candidate", "The new answer"), self.report("champion", rival)]
        file = DAG_FILE.format(name=self.house.pipeline, digest=digest, reports=reports)
        return self.asking.run(file, answer)

    def report(self, name: str, words: str) -> dict[str, Any]:
        """An evaluation in which a contender answers every example with these words."""
        rows = [
            Outcome(
                id=f"{number:064d}", prompt=f"Question {number}?", expected="", answer=f"{words} {number}",
                predicted=f"{words} {number}", correct=False, latency_s=0.1,
            )
            for number in range(EXAMPLES)
        ]  # fmt: skip
        lines = b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
        digest = f"digest of {name}"
        contender = Contender(spec_digest="s", name=name, model_name=name, model_digest=digest)
        return EvalReport(
            spec_digest="s",
            contender=contender,
            set_name="held_out",
            set_digest="sha256:" + "3" * 64,
            metrics={},
            outcomes=self.house.artifacts.put_bytes(lines, "application/jsonl"),
            n=EXAMPLES,
            failed=0,
            latency_p50_s=0.1,
            latency_p95_s=0.1,
            seconds=1.0,
        ).to_json()

    def path(self, run_id: str, reviewer: int) -> str:
        """Return the address of a reviewer's form in Airflow's API."""
        return self.asking.path(run_id).replace("/-1/", f"/{reviewer - 1}/")

    def form(self, run_id: str, reviewer: int) -> dict[str, Any]:
        """Return Airflow's record of a reviewer's form."""
        found = self.asking.client.get(self.path(run_id, reviewer), headers=bearer("ADMIN"))
        assert found.status_code == 200, found.text
        return dict(found.json())

    def page(self, run_id: str, reviewer: int) -> str:
        """Return the page that the form links to, as a reader of the DAG gets it."""
        link = re.search(r"\]\((/\S+)\)", self.form(run_id, reviewer)["body"])
        assert link
        found = self.asking.client.get(link[1], headers=bearer("VIEWER"))
        assert found.status_code == 200, found.text
        return found.text

    def waiting(self, run_id: str) -> None:
        """Wait until every reviewer is asked."""
        until(lambda: all(self._asked(run_id, one) for one in (1, 2)), "both are asked", timeout_s=120)

    def _asked(self, run_id: str, reviewer: int) -> bool:
        task = f"/api/v2/dags/{self.asking.dag_id}/dagRuns/{run_id}/taskInstances/review/{reviewer - 1}"
        found = self.asking.client.get(task, headers=bearer("ADMIN"))
        return found.status_code == 200 and found.json()["state"] == "awaiting_input"

    def submit(self, run_id: str, reviewer: int, role: str, fields: dict[str, Any]) -> None:
        """Answer a form as a person of that role."""
        answer = {"chosen_options": ["OK"], "params_input": fields}
        found = self.asking.client.patch(self.path(run_id, reviewer), headers=bearer(role), json=answer)
        assert found.status_code == 200, found.text


def newest(page: str) -> dict[str, str]:
    """Return the form of a person to whom every new answer is better."""
    examples = re.findall(r"<h3>First</h3><p class=\"text\">The (new|old) answer", page)
    return {
        f"example_{number}": "first" if word == "new" else "second"
        for number, word in enumerate(examples, start=1)
    }


@pytest.fixture
def reviews(house: House, client: TestClient) -> Iterator[Reviews]:  # noqa: F811
    with asking(house, client, "review", "review") as found:
        yield Reviews(found)


def result(run: Any) -> Votes:
    return Votes.from_json(returned(run, "count_reviews"))


def test_each_reviewer_answers_a_form_and_all_are_counted(reviews: Reviews) -> None:
    pages: dict[int, str] = {}

    def answer(run_id: str) -> None:
        reviews.waiting(run_id)
        pages.update({reviewer: reviews.page(run_id, reviewer) for reviewer in (1, 2)})
        reviews.submit(run_id, 1, "ADMIN", newest(pages[1]))
        # The second leaves one open, and one is not what the form offers.
        reviews.submit(run_id, 2, "OP", {**newest(pages[2]), "example_1": None, "example_2": "best"})

    run = reviews.run(PEOPLE, answer)
    found = result(run)
    assert found.counts and found.value and (found.value.value, found.value.n) == (1.0, 5)
    assert found.figures["reviewers"] == 2 and found.figures["agreement"] == 1.0
    assert pages[1] != pages[2] and "champion" not in pages[1]
    form = reviews.form(run.run_id, 1)
    assert sorted(form["params"]) == [f"example_{number}" for number in range(1, 6)]
    assert form["params"]["example_1"]["schema"]["enum"] == ["first", "second", "tie", None]
    assert "The new" not in form["body"] and "Question" not in form["body"]
    stored = Artifact.model_validate(returned(run, "review"))
    assert b"The new" not in reviews.house.artifacts.get_bytes(stored.digest)
    for task in ("prepare_review", "review", "count_reviews"):
        assert b"The new" not in canonical_json(returned(run, task))


def test_who_does_not_answer_in_time_is_not_waited_for(reviews: Reviews) -> None:
    def answer(run_id: str) -> None:
        reviews.waiting(run_id)
        reviews.submit(run_id, 2, "ADMIN", newest(reviews.page(run_id, 2)))
        reviews.asking.nobody(run_id)

    run = reviews.run(PEOPLE.replace("48h", "1s"), answer)
    assert set(states(run).values()) == {"success"}
    found = result(run)
    assert found.sentence.startswith("1 of 2 reviewers compared 5 examples")


def test_where_nobody_answers_the_metric_is_missing(reviews: Reviews) -> None:
    run = reviews.run(PEOPLE.replace("48h", "1s"), reviews.asking.nobody)
    assert set(states(run).values()) == {"success"}
    found = result(run)
    assert found.metrics == {} and found.sentence == "None of the 2 reviewers compared an example in time."


@pytest.mark.parametrize(
    ("people", "rival"),
    [("noise_examples: 0", "The old answer"), (PEOPLE, "The new answer")],
    ids=["the spec asks nobody", "all answers are alike"],
)
def test_nobody_is_asked_where(reviews: Reviews, people: str, rival: str) -> None:
    run = reviews.run(people, rival=rival)
    assert states(run) == {
        "evaluate": "success",
        "prepare_review": "success",
        "review": "skipped",
        "count_reviews": "success",
    }
    assert "nothing to review" in result(run).sentence
