"""What a clear leaves behind is not taken for what the run has now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from fastapi.testclient import TestClient

from retune.airflow.operators.judge import ReleaseWinner
from retune.errors import StateError
from retune.records import Decision, Model, Release, Verdict
from retune.serving import rollout
from retune.state import specs
from tests.dags.asking import Asking, asking, returned
from tests.dags.conftest import House
from tests.dags.test_artifact_pages import client  # noqa: F401
from tests.dags.test_runs import all_releases, make_live, now
from tests.unit.evaluation import builders
from tests.unit.serving.builders import digest

DAG_FILE = """\
from airflow.sdk import DAG, chain, task
from retune.airflow.operators.base import RetuneOperator

class Read(RetuneOperator):
    def execute(self, context):
        return self.read(parts, context)

with DAG("{name}.clears", default_args={{"retries": 0}}) as dag:

    @task
    def part(number):
        return number

    @task
    def clear(removed):
        # What Airflow does where a task is cleared, and mapped over fewer entries then.
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from sqlalchemy import update

        gone = (TaskInstance.dag_id == "{name}.clears") & TaskInstance.map_index.in_(removed)
        with create_session() as session:
            session.execute(update(TaskInstance).where(gone).values(state="removed"))

    parts = part.expand(number=[10, 11, 12])
    chain(parts, clear({removed}), Read(task_id="read", pipeline="{name}"))
"""


@pytest.fixture
def desk(house: House, client: TestClient) -> Iterator[Asking]:  # noqa: F811
    with asking(house, client, "clears", "read") as found:
        yield found


@pytest.mark.parametrize(
    ("removed", "left"), [([], [10, 11, 12]), ([2], [10, 11]), ([0, 1, 2], [])], ids=["none", "one", "all"]
)
def test_results_of_removed_instances_are_not_read(desk: Asking, removed: list[int], left: list[int]) -> None:
    run = desk.run(DAG_FILE.format(name=desk.house.pipeline, removed=removed))
    assert str(run.state) == "success"
    assert returned(run, "read") == left


def promoted(house: House, letter: str, champion: Release | None = None) -> tuple[Model, Decision]:
    """A model, and the decision to release it; a champion is what it was held against."""
    model = builders.model().model_copy(update={"digest": digest(letter)})
    rows, folder = builders.outcomes([True] * 20), house.project / "artifacts"
    seen = {"candidate": model.digest} | ({"champion": champion.model.digest} if champion else {})
    reports = {name: builders.report(name, rows, folder, found) for name, found in seen.items()}
    with house.db.write() as tx:
        spec = specs.freeze(tx, house.spec, now())
    return model, Decision(
        spec_digest=spec,
        verdict=Verdict.PROMOTE,
        reason="It is better.",
        checks=(),
        candidate=reports["candidate"].contender,
        reports=reports,
        dataset_digest="sha256:d",
    )


def release(house: House, run_id: str, winner: Model, decision: Decision) -> Release:
    """Run the task that releases a run's winner, and return the release that waits."""
    peer = {"model": winner.to_json(), "report": decision.reports["candidate"].to_json()}
    task = ReleaseWinner(
        task_id="release_winner",
        pipeline=house.pipeline,
        dataset=builders.dataset(20).to_json(),
        entries=[{"peers": [peer]}],
        decision=decision.to_json(),
    )
    context: Any = {"run_id": run_id, "outlet_events": defaultdict(SimpleNamespace)}
    return Release.from_json(task.execute(context))


def test_a_decision_releases_only_the_model_that_it_is_on(house: House) -> None:
    _, decision = promoted(house, "1")
    other, _ = promoted(house, "2")
    with pytest.raises(StateError, match="a task before was cleared by itself"):
        release(house, "a run", other, decision)
    assert all_releases(house) == []


def test_a_winner_over_a_champion_that_serves_no_longer_is_not_released(house: House) -> None:
    first = release(house, "first", *promoted(house, "1"))
    alone = promoted(house, "2")
    make_live(house, first)
    # Approved days later: meanwhile a champion went live that it never met.
    with pytest.raises(AirflowSkipException, match="not held against release 1, which is live by now"):
        release(house, "second", *alone)
    met = promoted(house, "2", first)
    second = release(house, "second", *met)
    assert (second.number, second.model) == (2, met[0])
    make_live(house, second)
    third = release(house, "third", *promoted(house, "3", second))
    # What the run released stays released, whatever serves since.
    assert release(house, "second", *met) == third
    assert [one.number for one in all_releases(house)] == [1, 2, 3]
    make_live(house, third)
    rollout.rollback(house.pipeline, "a person", db=house.db, now=now())
    with pytest.raises(AirflowSkipException, match="not held against release 2"):
        release(house, "fourth", *promoted(house, "4", third))
