"""One pipeline, three recipes (local, OpenAI, Vertex AI), offline: the gate chooses among real models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Run it once, and return what `three.json` holds."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "RETUNE_"))}
    command = [str(Path(sys.executable).with_name("retune")), "e2e", "--services"]
    done = subprocess.run(
        command, cwd=ROOT, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout[-4000:]
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
