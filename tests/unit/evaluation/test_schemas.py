"""A schema is sound before anything is asked, or the error says where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retune.errors import SetupError, SpecError
from retune.evaluation.measuring import task_of
from retune.evaluation.metrics import Task
from retune.evaluation.schemas import NotJSONError, read_json, read_schema
from retune.settings import Settings
from retune.spec import PipelineSpec
from tests.unit.evaluation.builders import SPEC

NAME = "include/schemas/order.json"


def write(project: Path, content: str | bytes) -> Path:
    path = project / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def extraction() -> PipelineSpec:
    data = SPEC.to_json()
    data["task"] |= {"kind": "extraction", "answer_schema": NAME}
    return PipelineSpec.from_json(data)


def task(project: Path) -> Task:
    return task_of(extraction(), (), Settings.load({"project": str(project)}.get))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON: Input data was truncated"),
        ("{'type': 1}", "is not JSON: .*byte 1"),
        (b'{"title": "\xff"}', "is not JSON: .*utf-8"),
        ("[]", r"holds \[\] where a schema is an object"),
        ("true", "holds True where a schema is an object"),
        ('{"type": "objekt"}', r"\$.type: 'objekt' is not valid"),
        ('{"properties": {"total": {"minimum": "1"}}}', r"\$.properties.total.minimum: '1' is not of type"),
        ('{"properties": {"id": {"pattern": "("}}}', r"\$.properties.id.pattern: '\(' is not a 'regex'"),
        ('{"$schema": "https://example.com/mine"}', "which is no known draft"),
        ('{"$ref": "#/$defs/gone"}', r"\$: \$ref '#/\$defs/gone' leads nowhere"),
        ('{"items": [{"$ref": "https://example.com/x.json"}], "$schema": "http://json-schema.org/draft-07/schema#"}',
         r"\$.items\[0\]: \$ref 'https://example.com/x.json' leads nowhere"),
        ('{"properties": {"default": {"$ref": "#gone"}}}', r"\$.properties.default: \$ref '#gone'"),
    ],
)  # fmt: skip
def test_a_schema_that_is_none_is_told_with_file_and_place(
    content: str | bytes, said: str, tmp_path: Path
) -> None:
    write(tmp_path, content)
    with pytest.raises(SpecError, match=said) as caught:
        task(tmp_path)
    [problem] = caught.value.problems
    assert problem.file == NAME and problem.action


def test_a_schema_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=rf"^{NAME}: cannot be read: No such file") as caught:
        task(tmp_path)
    assert "task.answer_schema" in caught.value.problems[0].action


def test_a_schema_without_a_project_is_told() -> None:
    with pytest.raises(SetupError, match=f"task.answer_schema names {NAME}, and nothing says where"):
        task_of(extraction(), ())


def test_every_reference_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"allOf": [{"$ref": "#/a"}, {"$ref": "#/b"}]}))
    with pytest.raises(SpecError) as caught:
        task(tmp_path)
    assert [problem.what.split(":")[0] for problem in caught.value.problems] == ["$.allOf[0]", "$.allOf[1]"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/order", "$defs": {"order": {"type": "object"}}},
        {
            "$id": "https://example.com/order",
            "$ref": "part",
            "$defs": {"x": {"$id": "part", "type": "object"}},
        },
        {"type": "object", "const": {"$ref": "#/nowhere"}},
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"type": "object", "$defs": {"draft": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}},
    ],
)
def test_a_sound_schema_is_taken(schema: dict[str, Any], tmp_path: Path) -> None:
    found = read_schema(write(tmp_path, json.dumps(schema)), NAME)
    value = schema.get("const", {})
    assert found.fits(value) and not found.fits([])


def test_a_value_too_deep_for_a_schema_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"type": "array", "items": {"$ref": "#"}}))
    found = read_schema(tmp_path / NAME, NAME)
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    assert found.fits([[]]) and not found.fits(value)


def test_a_number_too_long_for_a_schema_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"properties": {"total": {"multipleOf": 0.01}}}))
    found = read_schema(tmp_path / NAME, NAME)
    assert found.fits({"total": 12.5}) and not found.fits(read_json('{"total": 1' + "0" * 400 + "}"))


def test_json_is_read_strictly() -> None:
    assert read_json(' {"a": [1, 2.5, null, "\\u00e9"]}\n') == {"a": [1, 2.5, None, "é"]}
    for text in (
        "",
        "{",
        "NaN",
        "[1,]",
        "// no\n1",
        "1 2",
        "'a'",
        '"\\ud800"',
        "\ud800",
        "\ufeff1",
        "[" * 99999,
    ):
        with pytest.raises(NotJSONError):
            read_json(text)
