"""One pipeline, three recipes (local, OpenAI, Vertex AI), offline: the gate chooses among real models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retune.serving.processes import Book
from tests.e2e.test_demo import left_behind
from tests.unit.serving.builders import until

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / ".retune" / "e2e" / "three"


def start() -> subprocess.Popen[str]:
    """Start it, apart from the tests' own Airflow and Retune."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "RETUNE_"))}
    command = [str(Path(sys.executable).with_name("retune")), "e2e", "--services"]
    return subprocess.Popen(
        command, cwd=ROOT, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_whoever_terminates_it_ends_all_that_it_started() -> None:
    book = Book(PROJECT / ".retune" / "processes" / "processes.json")
    book.end_leftovers()
    with start() as running:
        try:
            until(lambda: {"openai", "vertex", "airflow"} <= book.running().keys(), "the start", 120)
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=120) == 128 + signal.SIGTERM
    assert left_behind(PROJECT) == []


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Run it once, and return what `three.json` holds."""
    with start() as running:
        output, _ = running.communicate(timeout=1500)
    assert running.returncode == 0, output[-4000:]
    loaded: dict[str, Any] = json.loads((ROOT / ".retune" / "three.json").read_text())
    return loaded


def test_each_backend_makes_a_model_with_curves(found: dict[str, Any]) -> None:
    assert sorted(recipe["backend"] for recipe in found["recipes"]) == ["local", "openai", "vertex"]
    for recipe in found["recipes"]:
        assert recipe["loss"] > 0 and recipe["eval_loss"] > 0 and recipe["steps"] > 0


def test_the_gate_promotes_one_of_them_on_what_it_truly_answers(found: dict[str, Any]) -> None:
    assert found["chosen"] in [recipe["served_as"] for recipe in found["recipes"]]
    assert found["decision"] == "PROMOTE"
    base, tuned = found["base"]["accuracy"], found["tuned"]["accuracy"]
    assert tuned["interval"][0] > base["interval"][1] + 0.05
