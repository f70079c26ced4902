"""A spec with a judge and reviewers, outcomes of two contenders, and pairs that people judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retune.artifacts import Artifacts
from retune.records import Outcome
from retune.settings import Settings
from retune.spec import PipelineSpec
from tests.unit.evaluation.builders import SPEC

JUDGE = {
    "connection": "judge",
    "model": "base",
    "rubric": "The higher the grade.",
    "labelled": "judged.jsonl",
}


def spec(**evaluation: Any) -> PipelineSpec:
    """A spec whose evaluation says that too."""
    data = SPEC.model_dump(mode="json")
    return PipelineSpec.model_validate({**data, "evaluation": {**data["evaluation"], **evaluation}})


def settings(project: Path) -> Settings:
    """An installation in a folder."""
    return Settings.load({"project": str(project)}.get)


def store(project: Path) -> Artifacts:
    """Its artifacts."""
    return Artifacts(settings(project).artifacts_url)


def outcomes(answers: Sequence[str], failed: Sequence[int] = ()) -> list[Outcome]:
    """Free answers to numbered questions; some calls brought none."""
    return [
        Outcome(
            id=f"{number:064d}",
            prompt=f"Question {number}?",
            expected="",
            answer="" if number in failed else answer,
            predicted="" if number in failed else answer.strip(),
            correct=False,
            error="timeout" if number in failed else "",
            latency_s=0.1,
        )
        for number, answer in enumerate(answers)
    ]


def write_judged(folder: Path, *rows: tuple[str, str, str]) -> Path:
    """Write pairs that people judged: first, second, better."""
    path = folder / "judged.jsonl"
    lines = [
        {"prompt": f"Judged {number}?", "first": first, "second": second, "better": better}
        for number, (first, second, better) in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
