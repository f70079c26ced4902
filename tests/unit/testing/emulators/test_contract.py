"""Answers held against a description, and what the descriptions still say in old words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retune.errors import SetupError
from retune.testing.emulators.contract import OpenApiContract


def contract(folder: Path, schema: dict[str, Any], **components: Any) -> OpenApiContract:
    answer = {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}
    path = folder / "contract.json"
    path.write_text(json.dumps({"paths": {"/a": {"get": answer}}, "components": {"schemas": components}}))
    return OpenApiContract(path)


def test_an_answer_is_right_or_its_place_is_named(tmp_path: Path) -> None:
    item = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    held = contract(tmp_path, {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}, Item=item)
    assert held.problems("GET", "/v1/a", [{"n": 1}]) == []
    [problem] = held.problems("GET", "/v1/a", [{"n": 1}, {"n": "x"}])
    assert problem.startswith("1/n: ")
    assert held.problems("POST", "/v1/a", []) == ["POST /v1/a is not in the contract"]
    assert held.routes == {("GET", "/v1/a")}


def test_an_exclusive_bound_in_the_old_words_is_a_bound(tmp_path: Path) -> None:
    held = contract(tmp_path, {"type": "number", "minimum": 0, "exclusiveMinimum": True})
    assert held.problems("GET", "/v1/a", 0.5) == []
    assert held.problems("GET", "/v1/a", 0) != []


def test_nullable_in_the_old_words_takes_null(tmp_path: Path) -> None:
    held = contract(tmp_path, {"type": "string", "nullable": True})
    assert held.problems("GET", "/v1/a", None) == held.problems("GET", "/v1/a", "x") == []
    assert held.problems("GET", "/v1/a", 1) != []


def test_a_date_must_be_one(tmp_path: Path) -> None:
    held = contract(tmp_path, {"type": "string", "format": "date"})
    assert held.problems("GET", "/v1/a", "2027-01-14") == []
    assert held.problems("GET", "/v1/a", "soon") != []


def test_a_description_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"none\.json cannot be read"):
        OpenApiContract(tmp_path / "none.json")
