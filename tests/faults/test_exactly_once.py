"""One order is one job and one bill, whatever is killed between its intent and its stored handle."""

from __future__ import annotations

import pytest

from benchmarks.exactly_once import run_apart

TRIALS = 100


@pytest.mark.parametrize("kind", ["openai", "vertex"])
def test_orders_whose_processes_are_killed_at_random_statements_are_one_job_and_one_bill(kind: str) -> None:
    outcome = run_apart(kind, TRIALS, seed=20261126)
    assert outcome.trials == TRIALS and outcome.kills > TRIALS / 2
    assert dict(outcome.survivors) == {1: TRIALS}
    assert dict(outcome.bills) == {1: TRIALS}
