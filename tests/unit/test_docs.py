"""The documents speak of what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from retune.spec import PipelineSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def keys(schema: dict[str, Any], part: dict[str, Any], prefix: str = "") -> set[str]:
    """Return every leaf key of the spec as the reference writes it."""
    found: set[str] = set()
    for name, field in part["properties"].items():
        options = [field, *field.get("anyOf", []), *field.get("allOf", [])]
        item = next((option["items"] for option in options if "$ref" in option.get("items", {})), None)
        reference = next((option["$ref"] for option in options if "$ref" in option), None)
        if item:
            found |= keys(schema, _definition(schema, item["$ref"]), f"{prefix}{name}[].")
        elif reference:
            found |= keys(schema, _definition(schema, reference), f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def _definition(schema: dict[str, Any], reference: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return found


def test_the_reference_names_exactly_the_keys_of_the_spec() -> None:
    schema = PipelineSpec.model_json_schema()
    text = (ROOT / "docs" / "spec.md").read_text()
    written = set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))
    assert written == keys(schema, schema)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
