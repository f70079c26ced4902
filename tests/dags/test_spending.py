"""Before money is spent: let through, refused, or asked about, with Airflow's own approval in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from retune.state import specs, spending
from tests.dags.asking import Answer, Asking, asking, returned
from tests.dags.conftest import House, states
from tests.dags.test_artifact_pages import client  # noqa: F401

DAG_FILE = """\
from airflow.sdk import DAG, task
from retune.airflow.operators.spending import ApproveCost

with DAG("{name}.costs", default_args={{"retries": 2}}) as dag:

    @task
    def estimate():
        return {costs!r}

    @task
    def train():
        return "trained"

    costs = estimate()
    approve = ApproveCost(task_id="approve_cost", pipeline="{name}", spec="{digest}", costs=costs)
    costs >> approve >> train()
"""
BUDGET = "{per_run_usd: 50, ask_above_usd: 10, monthly_usd: 200}"
CHEAP = {"title": "local qwen sft #1", "usd": 0.0, "basis": "own hardware"}
DEAR = {"title": "openai gpt-4.1 sft #2", "usd": 12.5, "basis": "500,000 tokens | 25.00 USD a million"}
UNKNOWN = {"title": "vertex gemma sft #3", "usd": None, "basis": "no price of gemma is known"}


@dataclass(frozen=True)
class Asked:
    """A run, what it asked and what it decided."""

    tasks: dict[str, str]
    question: dict[str, Any]
    """Airflow's record of the question; empty where nobody was asked."""
    verdict: Any
    """What the task returned."""
    tries: int


@dataclass
class Costs:
    """A DAG of nothing but an estimate, the approval and a training that is none."""

    asking: Asking

    @property
    def house(self) -> House:
        return self.asking.house

    def run(self, budget: str, *costs: dict[str, Any], answer: Answer | None = None) -> Asked:
        """Run it to its end under a budget; `answer` is called with the run's id once the run waits."""
        run = self.asking.run(self._text(budget, costs), answer)
        [task] = [ti for ti in run.get_task_instances() if ti.task_id == "approve_cost"]
        question, verdict = self.asking.question(run.run_id), returned(run, "approve_cost")
        return Asked(states(run), question, verdict, int(task.try_number))

    def click(self, option: str) -> Answer:
        return self.asking.click(option)

    def nobody(self, run_id: str) -> None:
        self.asking.nobody(run_id)

    def _text(self, budget: str, costs: tuple[dict[str, Any], ...]) -> str:
        text = self.house.file.read_text()
        self.house.file.write_text(text + (f"budget: {budget}\n" if budget else ""))
        with self.house.db.write() as tx:
            digest = specs.freeze(tx, self.house.spec, datetime.now(UTC))
        return DAG_FILE.format(name=self.house.pipeline, digest=digest, costs=list(costs))


@pytest.fixture
def costs(house: House, client: TestClient) -> Iterator[Costs]:  # noqa: F811
    with asking(house, client, "costs", "approve_cost") as found:
        yield Costs(found)


def spend(house: House, key: str, usd: float | None, paid: bool = False) -> None:
    """Set money aside for another job of the pipeline, or have it paid."""
    now = datetime.now(UTC)
    with house.db.write() as tx:
        spending.reserve(tx, key, house.pipeline, usd, now)
        if paid:
            spending.settle(tx, key, usd, now)


def test_what_fits_into_the_budget_is_not_asked_about(costs: Costs) -> None:
    found = costs.run(BUDGET, CHEAP, DEAR | {"usd": 9.0})
    assert set(found.tasks.values()) == {"success"} and found.question == {}
    assert found.verdict["outcome"] == "allow"
    assert found.verdict["usd"] == 9.0


def test_what_breaks_the_budget_is_refused_once_and_nothing_is_trained(
    costs: Costs, capsys: pytest.CaptureFixture[str]
) -> None:
    spend(costs.house, "before", 180.0, paid=True)
    spend(costs.house, "running", 10.0)
    found = costs.run(BUDGET, DEAR)
    assert found.tasks == {"estimate": "success", "approve_cost": "failed", "train": "upstream_failed"}
    assert found.question == {} and found.tries == 1
    said = "".join(capsys.readouterr())
    assert "12.50 USD on top of this month's 190.00 USD (180.00 USD paid, 10.00 USD reserved)" in said


def test_what_is_dear_is_asked_about_and_goes_on_once_approved(costs: Costs) -> None:
    spend(costs.house, "before", 20.0, paid=True)
    found = costs.run(BUDGET, CHEAP, DEAR, answer=costs.click("Approve"))
    assert set(found.tasks.values()) == {"success"}
    assert (found.verdict["outcome"], found.verdict["approved_by"]) == ("ask", "a ADMIN")
    assert found.question["subject"] == f"{costs.house.pipeline}: may this run spend 12.50 USD?"
    assert found.question["options"] == ["Approve", "Reject"]
    assert found.question["defaults"] == ["Reject"]
    body = found.question["body"]
    for words in (
        "The run would cost 12.50 USD, more than the 10.00 USD of budget.ask_above_usd.",
        "| local qwen sft #1 | 0.00 USD | own hardware |",
        "| openai gpt-4.1 sft #2 | 12.50 USD | 500,000 tokens \\| 25.00 USD a million |",
        "This month (UTC): 20.00 USD paid, 0.00 USD reserved.",
        "Budget: 50.00 USD a run and 200.00 USD a month.",
        "Without an answer within 24h the run is rejected.",
    ):
        assert words in body


def test_what_a_person_rejects_is_not_trained_and_not_asked_again(
    costs: Costs, capsys: pytest.CaptureFixture[str]
) -> None:
    found = costs.run(BUDGET, DEAR, answer=costs.click("Reject"))
    assert found.tasks == {"estimate": "success", "approve_cost": "failed", "train": "upstream_failed"}
    assert found.tries == 1 and found.verdict is None
    said = "".join(capsys.readouterr())
    assert "the cost was rejected by a ADMIN: the training does not start" in said


def test_an_unknown_price_asks_without_a_budget_too(costs: Costs) -> None:
    found = costs.run("", UNKNOWN, answer=costs.click("Approve"))
    assert set(found.tasks.values()) == {"success"}
    assert found.verdict["unknown"] == ["vertex gemma sft #3"]
    assert found.question["subject"].endswith("may this run spend an unknown amount?")
    assert "| vertex gemma sft #3 | not known | no price of gemma is known |" in found.question["body"]
    assert "Budget: no limit." in found.question["body"]


def test_without_an_answer_in_time_the_run_ends_rejected(
    costs: Costs, capsys: pytest.CaptureFixture[str]
) -> None:
    found = costs.run("{ask_above_usd: 1, approval_timeout: 1s}", DEAR, answer=costs.nobody)
    assert found.tasks == {"estimate": "success", "approve_cost": "failed", "train": "upstream_failed"}
    assert found.question["responded_by_user"] is None
    assert "rejected by the time-out, as nobody answered" in "".join(capsys.readouterr())


def test_silence_approves_where_the_spec_says_so(costs: Costs) -> None:
    budget = "{ask_above_usd: 1, approval_timeout: 1s, on_timeout: approve}"
    found = costs.run(budget, DEAR, answer=costs.nobody)
    assert set(found.tasks.values()) == {"success"}
    assert found.verdict["approved_by"] == "the time-out, as nobody answered"


def test_an_approval_does_not_outlive_the_months_budget(
    costs: Costs, capsys: pytest.CaptureFixture[str]
) -> None:
    def late(run_id: str) -> None:
        spend(costs.house, "another run", 195.0)
        costs.click("Approve")(run_id)

    found = costs.run(BUDGET, DEAR, answer=late)
    assert found.tasks == {"estimate": "success", "approve_cost": "failed", "train": "upstream_failed"}
    assert "195.00 USD reserved), more than the 200.00 USD of budget.monthly_usd" in "".join(
        capsys.readouterr()
    )
