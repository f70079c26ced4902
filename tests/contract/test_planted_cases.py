"""Runs in which something is wrong end as they should, and the benchmark that shows it can fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.evaluation import run_all
from benchmarks.planted_cases import CASES, Case, Ending, report_on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_planted_case_ends_as_it_should(case: Case) -> None:
    ending = case.played()
    assert ending.wishes and not ending.unmet, ending.came


def test_a_case_that_ends_otherwise_or_breaks_down_fails_after_all_have_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = (
        Case("promoted", "REJECT", lambda stage: Ending("PROMOTE", {"rejected": False, "told": True})),
        Case("broken", "REJECT", lambda stage: Ending("", {"known": stage.run({}, {})})),  # type: ignore[arg-type, dict-item]
        Case("good", "REJECT", lambda stage: Ending("REJECT", {"rejected": True})),
    )
    file = tmp_path / "results" / "cases.json"
    with pytest.raises(SystemExit, match="failed: promoted, unmet, broken, unmet$"):
        report_on(cases, file)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("FAILED must") and first.endswith("came: PROMOTE; not so: rejected)")
    assert second.startswith("FAILED must") and "AttributeError" in second
    assert third.startswith("ok") and third.endswith("came: REJECT)")
    found = json.loads(file.read_text())["cases"]
    assert {name: case["unmet"] for name, case in found.items()} == {
        "promoted": ["rejected"],
        "broken": ["an ending"],
        "good": [],
    }


def test_the_whole_benchmark_fails_only_after_all_of_its_parts_have_run(
    capfd: pytest.CaptureFixture[str],
) -> None:
    said = "print('FAILED must  one: 1 (wished: 0)'); print('progress')"
    parts = {
        "first": ("-c", f"{said}; raise SystemExit(1)"),
        "second": ("-c", "print('ok     goal  two: 2 (wished: 2)')"),
        "third": ("-c", "raise OSError"),
    }
    with pytest.raises(SystemExit, match="^failed: first, third$"):
        run_all(parts)
    told = capfd.readouterr()
    assert told.out.splitlines() == [
        "first:",
        "FAILED must  one: 1 (wished: 0)",
        "second:",
        "ok     goal  two: 2 (wished: 2)",
        "third:",
    ]
    assert "progress" in told.err


def test_nothing_fails_where_every_part_does_well() -> None:
    run_all({"only": ("-c", "pass")})
