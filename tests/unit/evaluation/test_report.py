"""The decision's page shows the evidence and nothing that a user planted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from retune.evaluation.evidence import of_decision
from retune.evaluation.gate import decide
from retune.evaluation.report import render
from retune.records import Curve, Model
from retune.spec import PipelineSpec
from tests.unit.evaluation.builders import SPEC, dataset, model, outcomes, report


def test_the_page_shows_the_decision_and_escapes_users_text(tmp_path: Path) -> None:
    found = {
        "candidate": outcomes([True] * 90 + [False] * 10),
        "base": outcomes([False] * 80 + [True] * 20),
    }
    reports = {name: report(name, rows, tmp_path) for name, rows in found.items()}
    decision = decide(SPEC, dataset(100), reports, found, None, held_out_uses=1, leaked=0)
    evidence = of_decision(SPEC, dataset(100), decision, reports, found, model())
    html = render(evidence)
    assert "PROMOTE" in html and decision.reason.split(":")[0] in html
    assert "<script" not in html and "&lt;script&gt;" in html
    assert html.count("<svg") == 3
    assert "80 won, 10 lost" in html
    assert html == render(evidence)


def shown(curves: Sequence[Curve], folder: Path, recipe: dict[str, Any] | None = None) -> str:
    """Return the page's part on the training of a candidate with these curves."""
    data = SPEC.to_json() | ({"recipes": [recipe]} if recipe else {})
    spec = PipelineSpec.from_json(data)
    found = {"candidate": outcomes([True] * 90), "base": outcomes([False] * 90)}
    reports = {name: report(name, rows, folder) for name, rows in found.items()}
    decision = decide(spec, dataset(90), reports, found, None, held_out_uses=1, leaked=0)
    trained: Model = model().model_copy(update={"curves": tuple(curves)})
    html = render(of_decision(spec, dataset(90), decision, reports, found, trained))
    return html.partition("training went</h2>")[2].partition("<h2>")[0]


OVERFITTED = (
    Curve(name="loss", points=tuple((step, 1.0 - step / 50) for step in range(1, 41))),
    Curve(name="eval_loss", points=((10, 0.9), (20, 0.5), (30, 0.6), (40, 0.8))),
)
OPENAI = {"backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14"}


@pytest.mark.parametrize(
    ("recipe", "advice"),
    [
        (None, "the model did not suffer"),
        (OPENAI | {"checkpoint": "best"}, "the model did not suffer"),
        (OPENAI, "take `checkpoint: best`"),
        ({"backend": "elsewhere", "base_model": "m"}, "Train for fewer epochs"),
    ],
)
def test_overfitting_is_named_and_marked_with_what_became_of_the_model(
    recipe: dict[str, Any] | None, advice: str, tmp_path: Path
) -> None:
    html = shown(OVERFITTED, tmp_path, recipe)
    assert '<li class="alarm">Overfitting: the validation loss was best at step 20 (0.5000)' in html
    assert advice in html
    assert {"training", "validation", "best validation loss, step 20"} <= texts(html)


def test_a_sound_training_is_marked_nowhere(tmp_path: Path) -> None:
    falls = tuple((step, 0.3 + 2.0**-step) for step in range(1, 41))
    levels = Curve(name="eval_loss", points=((10, 0.5), (20, 0.42), (30, 0.41), (40, 0.41)))
    html = shown((Curve(name="loss", points=falls), levels), tmp_path)
    assert "Nothing stands out: the training loss went from 0.8000 to 0.3000" in html
    assert "alarm" not in html and not any("best validation" in text for text in texts(html))


def test_a_training_without_curves_says_so(tmp_path: Path) -> None:
    html = shown((), tmp_path)
    assert "<svg" not in html and "Too few points to say anything: 0 of the training loss" in html


def test_names_of_curves_are_hostile_too(tmp_path: Path) -> None:
    evil = Curve(name="<script>alert(1)</script>$\\alpha$ loss", points=((1, 1.0), (2, 0.5)))
    assert "<script" not in shown((evil,), tmp_path)


def texts(html: str) -> set[str]:
    """Return what a plot of the page has in words."""
    return {text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", html)}
