"""The decision's page shows the evidence and nothing that a user planted."""

from __future__ import annotations

from pathlib import Path

from retune.evaluation.gate import decide
from retune.evaluation.report import page
from tests.unit.evaluation.builders import SPEC, dataset, model, outcomes, report


def test_the_page_shows_the_decision_and_escapes_users_text(tmp_path: Path) -> None:
    found = {
        "candidate": outcomes([True] * 90 + [False] * 10),
        "base": outcomes([False] * 80 + [True] * 20),
    }
    reports = {name: report(name, rows, tmp_path) for name, rows in found.items()}
    decision = decide(SPEC, dataset(100), reports, found, None)
    html = page(SPEC, dataset(100), decision, reports, found, model())
    assert "PROMOTE" in html and decision.reason.split(":")[0] in html
    assert "<script" not in html and "&lt;script&gt;" in html
    assert html.count("<svg") == 3
    assert "80 won, 10 lost" in html
    assert html == page(SPEC, dataset(100), decision, reports, found, model())
