"""After the gate: a decision stands, or a person settles it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from retune.airflow.links import EvaluationPage
from retune.airflow.operators.approval import NOBODY
from retune.records import Artifact, Check, Contender, Decision, Verdict
from retune.state import ledger, specs
from tests.dags.asking import Answer, Asking, asking, returned
from tests.dags.conftest import House, states
from tests.dags.test_artifact_pages import client  # noqa: F401
from tests.dags.test_runs import shown
from tests.unit.serving.builders import until

DAG_FILE = """\
from airflow.sdk import DAG
from retune.airflow.operators.approval import ApproveRelease

with DAG("{name}.approval", default_args={{"retries": 2}}) as dag:
    ApproveRelease(task_id="approve_release", pipeline="{name}", spec="{digest}", decision={decision!r})
"""

CLEARED_FILE = """\
import json
from pathlib import Path
from airflow.sdk import DAG, chain, task
from retune.airflow.operators.approval import ApproveRelease

with DAG("{name}.approval", default_args={{"retries": 0}}) as dag:

    @task
    def decide():
        return json.loads(Path("{given}").read_text())

    found = decide()
    ask = ApproveRelease(task_id="approve_release", pipeline="{name}", spec="{digest}", decision=found)
    chain(found, ask)
"""


def check(name: str, verdict: Verdict, kind: Any = "claim") -> Check:
    return Check(name=name, verdict=verdict, kind=kind, value=0.02, n=240, sentence=f"{name} | so it is.")


def decision(verdict: Verdict, *checks: Check) -> Decision:
    candidate = Contender(spec_digest="s", name="candidate", model_name="m", model_digest="sha256:m")
    page = Artifact(digest="sha256:" + "5" * 64, uri="memory://page", size=1)
    return Decision(
        spec_digest="s",
        verdict=verdict,
        reason="Two points more, and no proof.",
        checks=checks,
        candidate=candidate,
        reports={},
        dataset_digest="sha256:d",
        report=page,
    )


OPEN = decision(Verdict.INCONCLUSIVE, check("beats base", Verdict.INCONCLUSIVE))
WON = decision(Verdict.PROMOTE, check("beats base", Verdict.PROMOTE))
UNTRUSTED = decision(Verdict.INCONCLUSIVE, check("leaked rows", Verdict.INCONCLUSIVE, kind="precondition"))


@pytest.fixture
def desk(house: House, client: TestClient) -> Iterator[Asking]:  # noqa: F811
    with asking(house, client, "approval", "approve_release") as found:
        yield found


def decide(
    desk: Asking, approval: str, given: Decision, answer: Answer | None = None
) -> tuple[Decision, Any]:
    """Return what came of a decision, and the run."""
    text = desk.house.file.read_text()
    desk.house.file.write_text(text + (f"gate: {{approval: {approval}}}\n" if approval else ""))
    with desk.house.db.write() as tx:
        digest = specs.freeze(tx, desk.house.spec, datetime.now(UTC))
    run = desk.run(DAG_FILE.format(name=desk.house.pipeline, digest=digest, decision=given.to_json()), answer)
    return Decision.from_json(returned(run, "approve_release")), run


def noted(house: House) -> list[dict[str, Any]]:
    with house.db.read() as tx:
        return [entry.detail for entry in ledger.entries(tx, house.pipeline) if entry.event == "answered"]


@pytest.mark.parametrize(
    ("approval", "given"),
    [
        ("", OPEN),
        ("{when: inconclusive}", WON),
        ("{when: inconclusive}", UNTRUSTED),
        ("{when: always}", decision(Verdict.REJECT, check("beats base", Verdict.REJECT))),
    ],
    ids=["nobody is to be asked", "it is settled", "the evidence cannot be trusted", "it is refused"],
)
def test_a_decision_stands_where(desk: Asking, approval: str, given: Decision) -> None:
    found, run = decide(desk, approval, given)
    assert found == given
    assert desk.question(run.run_id) == {}


def test_a_person_settles_what_the_gate_left_open(desk: Asking) -> None:
    found, run = decide(desk, "{when: inconclusive}", OPEN, desk.click("Approve"))
    assert (found.verdict, found.forced_by) == (Verdict.PROMOTE, "a ADMIN")
    assert found.reason.startswith("The gate said INCONCLUSIVE; approved by a ADMIN.")
    page = shown(run, "approve_release", EvaluationPage())
    assert page.endswith("5" * 64), "the evidence stays within reach once it is answered"
    question = desk.question(run.run_id)
    assert f"[The evidence]({page})" in question["body"]
    assert question["subject"].endswith("the gate says INCONCLUSIVE. Release the candidate?")
    assert "| beats base | not settled | beats base \\| so it is. |" in question["body"]
    assert "Without an answer within 24h it is not released." in question["body"]
    assert [(entry["verdict"], entry["by"]) for entry in noted(desk.house)] == [("PROMOTE", "a ADMIN")]


def test_a_person_turns_a_winner_down(desk: Asking) -> None:
    found, _ = decide(desk, "{when: always}", WON, desk.click("Reject"))
    assert (found.verdict, found.forced_by) == (Verdict.REJECT, "a ADMIN")


@pytest.mark.parametrize(("on_timeout", "verdict"), [("reject", "INCONCLUSIVE"), ("approve", "PROMOTE")])
def test_silence_is_an_answer_too(desk: Asking, on_timeout: str, verdict: str) -> None:
    approval = f"{{when: inconclusive, timeout: 1s, on_timeout: {on_timeout}}}"
    found, _ = decide(desk, approval, OPEN, desk.nobody)
    assert (found.verdict.value, found.forced_by) == (verdict, NOBODY)


@pytest.mark.parametrize(
    ("reason", "ends"),
    [(OPEN.reason, "success"), ("Another candidate, and no proof.", "failed")],
    ids=["the same is asked", "something else is asked"],
)
def test_a_cleared_question_is_asked_again_where(desk: Asking, reason: str, ends: str) -> None:
    # Airflow goes on to show the first question, whatever is asked after a clear.
    given = desk.house.project / "decision.json"
    given.write_text(json.dumps(OPEN.to_json()))
    desk.house.file.write_text(desk.house.file.read_text() + "gate: {approval: {when: inconclusive}}\n")
    with desk.house.db.write() as tx:
        digest = specs.freeze(tx, desk.house.spec, datetime.now(UTC))
    shown: list[str] = []

    def clear(run_id: str) -> None:
        shown.append(desk.question(run_id)["body"])
        given.write_text(json.dumps(OPEN.model_copy(update={"reason": reason}).to_json()))
        desk.clear(run_id, ["decide", "approve_release"])
        until(lambda: desk.state(run_id) in ("awaiting_input", "failed"), "asked anew", timeout_s=60)
        shown.append(desk.question(run_id)["body"])
        if desk.state(run_id) == "awaiting_input":
            desk.click("Approve")(run_id)

    run = desk.run(CLEARED_FILE.format(name=desk.house.pipeline, digest=digest, given=given), clear)
    assert states(run) == {"decide": "success", "approve_release": ends}
    assert shown[0] == shown[1]
    assert [entry["verdict"] for entry in noted(desk.house)] == (["PROMOTE"] if ends == "success" else [])
