"""Whatever part of a real Airflow is killed, its own retry makes one job and one bill of an order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from benchmarks.airflow_recovery import CANCELLED, POINTS, SCENARIOS, Outcome, run_all
from retune.airflow.operators.fine_tune import FineTune
from retune.backends.jobs import CLEARED, Underway, begin
from retune.backends.stopping import cancel_stored
from retune.errors import BackendError
from retune.testing.emulators.process import Running, running
from tests.contract.openai_house import make_desk


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every scenario, in one Airflow."""
    return run_all(tmp_path_factory.mktemp("airflow"), print)


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_order_is_one_job_and_one_bill_whatever_is_killed(name: str, outcomes: dict[str, Outcome]) -> None:
    found = outcomes[name]
    print(f"{name}: {found}")
    assert found.killed
    assert found.state == "success"
    assert found.survivors == 1
    # Of a cleared task's job a part was trained, and paid, before it was cancelled for the next try's.
    assert (found.created, found.bills) == ((2, 2) if name == CANCELLED else (1, 1))
    if name in POINTS:
        assert found.tries == 2


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Running]:
    """An OpenAI whose jobs do not end by themselves."""
    with running("openai", tmp_path / "emulator", phase_s=1e6) as found:
        yield found


@pytest.mark.parametrize("who", ["a clear", "somebody at the provider"])
def test_only_a_job_that_a_clear_cancelled_is_made_again_by_the_next_try(
    who: str, emulator: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "openai", "host": f"{emulator.url}/v1", "password": "sk-test"}
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("RETUNE_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("RETUNE_HOME", str(tmp_path / "project" / ".retune"))
    desk = make_desk(tmp_path / "project", emulator)
    order = desk.order()
    task = FineTune(task_id="fine_tune", pipeline="tiny", spec="", dataset={}, recipe={})
    found = begin(order.recipe, order.dataset, task.site)
    assert isinstance(found, Underway)
    # Airflow's next try has adopted the job, when the triggerer comes to cancel it.
    if who == "a clear":
        assert cancel_stored(found.order.key, task.site, CLEARED)
    else:
        found.backend.cancel(found.job)
    context: Any = {"ti": SimpleNamespace(xcom_push=lambda **_: None)}
    retried = who == "a clear"
    with pytest.raises(BackendError if retried else AirflowFailException):
        task._end_or_wait(found, context, float("inf"), 60.0)
    if retried:
        again = begin(order.recipe, order.dataset, task.site)
        assert isinstance(again, Underway) and again.order.attempt == 2
        assert sum(job["survives"] for job in emulator.jobs()) == 1
