"""Whatever part of a real Airflow is killed, its own retry makes one job and one bill of an order."""

from __future__ import annotations

import pytest

from benchmarks.airflow_recovery import CANCELLED, POINTS, SCENARIOS, Outcome, run_all


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
