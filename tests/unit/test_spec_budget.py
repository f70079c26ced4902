"""The spec's budget: what it refuses, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.documents import read_document
from retune.errors import SpecError
from retune.spec.budget import Budget, dollars, over
from retune.spec.parts import Part


class File(Part):
    """A spec of nothing but a budget."""

    budget: Budget


def read(folder: Path, *lines: str) -> Budget:
    path = folder / "spec.yaml"
    path.write_text("budget:\n" + "".join(f"  {line}\n" for line in lines))
    return read_document(path, File).budget


def problems(folder: Path, *lines: str) -> list[tuple[int | None, str]]:
    with pytest.raises(SpecError) as caught:
        read(folder, *lines)
    return [(problem.line, problem.what) for problem in caught.value.problems]


def test_a_budget_is_read_and_waits_a_day_by_default(tmp_path: Path) -> None:
    budget = read(tmp_path, "per_run_usd: 50", "ask_above_usd: 10", "monthly_usd: 200.5")
    assert (budget.per_run_usd, budget.ask_above_usd, budget.monthly_usd) == (50, 10, 200.5)
    assert (budget.approval_timeout, budget.on_timeout) == ("24h", "reject")
    assert Budget.model_validate(budget.model_dump(mode="json")) == budget


def test_limits_that_contradict_one_another_are_named(tmp_path: Path) -> None:
    assert problems(tmp_path, "per_run_usd: 50", "ask_above_usd: 60") == [
        (
            3,
            "budget.ask_above_usd: above per_run_usd (50.00 USD), so that nobody would ever be asked, not 60",
        )
    ]
    assert problems(tmp_path, "monthly_usd: 20", "per_run_usd: 50") == [
        (2, "budget.monthly_usd: below per_run_usd (50.00 USD), which could never be spent, not 20")
    ]
    [(line, what)] = problems(tmp_path, "ask_above_usd: 30", "monthly_usd: 20")
    assert line == 3 and "below ask_above_usd (30.00 USD)" in what


@pytest.mark.parametrize(
    "line",
    [
        "per_run_usd: -1",
        "per_run_usd: .nan",
        "per_run_usd: .inf",
        "per_run_usd: true",
        'per_run_usd: "50"',
        "per_run_usd: 50 EUR",
        "approval_timeout: soon",
        "approval_timeout: 0h",
        "on_timeout: shrug",
        "yearly_usd: 5",
    ],
)
def test_what_is_no_budget_is_refused_at_its_line(tmp_path: Path, line: str) -> None:
    [(number, what)] = problems(tmp_path, "monthly_usd: 99", line)
    assert number == 3
    assert line.partition(":")[0] in what


def test_an_approval_always_has_an_end(tmp_path: Path) -> None:
    # Airflow takes a time-out of nothing for none.
    [(_, what)] = problems(tmp_path, "approval_timeout: 0s")
    assert what == "budget.approval_timeout: leaves no time to answer, not '0s'"


def test_amounts_read_well() -> None:
    found = [dollars(usd) for usd in (0, 12, 1234.5, 0.0042, 12.004)]
    assert found == ["0.00 USD", "12.00 USD", "1,234.50 USD", "0.0042 USD", "12.0040 USD"]


@given(st.lists(st.integers(0, 10_000), max_size=50))
def test_sums_of_cents_are_compared_as_cents(cents: list[int]) -> None:
    usd = sum(cent / 100 for cent in cents)
    assert not over(usd, sum(cents) / 100)
    assert over(usd + 0.01, sum(cents) / 100)
    assert not over(usd, None)
