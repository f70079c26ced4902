"""A short spec, its recipes, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retune.errors import Problem, SpecError
from retune.spec import LocalRecipe, OpenAIRecipe, load_spec

GOOD = """\
version: 1
pipeline: tickets
data:
  sources: [rows.jsonl]
  columns: {prompt: text, completion: queue}
  expectations: suite.json
recipes:
  - {base_model: some/model}
evaluation: {endpoint: vllm}
deploy: {endpoint: vllm, alias: tickets}
"""
EXAMPLES: dict[str, dict[str, Any]] = {
    "local": {"base_model": "m", "tuning": "qlora", "packing": True, "queue": "gpu"},
    "ssh": {"base_model": "m", "connection": "box", "folder": "~/retune"},
    "kubernetes": {"base_model": "m", "image": "i", "volume": "v", "gpus": 2, "namespace": "n"},
    "openai": {"base_model": "gpt-4.1-mini-2025-04-14", "epochs": 3, "suffix": "x"},
    "vertex": {"base_model": "gemini-2.5-flash", "bucket": "gs://rows", "adapter_size": 4},
    "acme": {"base_model": "a", "options": {"effort": ["high", 1, None]}},
}
KINDS = {"ssh": LocalRecipe, "kubernetes": LocalRecipe, "local": LocalRecipe, "openai": OpenAIRecipe}


def problems_of(tmp_path: Path, text: str) -> list[Problem]:
    """Return all that is wrong with a spec."""
    file = tmp_path / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert all(problem.file == str(file) for problem in caught.value.problems)
    return caught.value.problems
