"""The documents speak of what is there."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic_core import PydanticUndefined

from retune.cli import app
from retune.data.drops import REASONS
from retune.data.expectations import RULES
from retune.data.features import FEATURES
from retune.data.shapes import ends_with_assistant, reader_of, roles_in_order
from retune.data.suites import Suite, read_suite
from retune.data.validation import check
from retune.spec import LocalRecipe, OpenAIRecipe, PipelineSpec, Recipe, VertexRecipe, load_spec
from retune.spec.data import Columns, Data, Shape
from retune.spec.recipes import OtherRecipe
from retune.text.privacy import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


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


SPEC = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
RECIPES = SPEC.partition("\n## Recipes\n")[2].partition("\n## ")[0]
KINDS_OF_RECIPES: dict[str, type[Recipe]] = {
    "On your own hardware": LocalRecipe,
    "OpenAI": OpenAIRecipe,
    "Vertex AI": VertexRecipe,
    "A backend that a package brings": OtherRecipe,
}
MINIMAL = """\
version: 1
pipeline: tickets
data: {sources: [rows.jsonl], columns: {prompt: text, completion: queue}}
evaluation: {endpoint: vllm}
deploy: {endpoint: vllm, alias: tickets}
"""


def test_the_reference_names_exactly_the_keys_of_the_spec() -> None:
    schema = PipelineSpec.model_json_schema()
    written = re.findall(r"^\| `([^`]+)`", SPEC.partition("\n## ")[0], re.MULTILINE)
    assert sorted(written) == sorted(keys(schema, schema))


def test_the_reference_knows_every_kind_of_recipe() -> None:
    described = [kind.model_fields.keys() for kind in KINDS_OF_RECIPES.values()]
    union = PipelineSpec.model_json_schema()["properties"]["recipes"]["items"]["oneOf"]
    definitions = [_definition(PipelineSpec.model_json_schema(), kind["$ref"]) for kind in union]
    assert [set(fields) for fields in described] == [set(one["properties"]) for one in definitions]


@pytest.mark.parametrize("title", KINDS_OF_RECIPES)
def test_the_reference_names_exactly_the_keys_of_a_recipe_with_their_defaults(title: str) -> None:
    schema = KINDS_OF_RECIPES[title].model_json_schema()
    rows = re.findall(r"^\| `([^`]+)` \|.*\| (.*?) ?\|$", subsection(title), re.MULTILINE)
    assert sorted(key for key, _ in rows) == sorted(keys(schema, schema))
    for key, written in rows:
        default = KINDS_OF_RECIPES[title].model_fields[key.split(".")[0]].default
        for name in key.split(".")[1:]:
            default = getattr(default, name)
        # An empty or missing default is said in words.
        if default not in ("", None, PydanticUndefined) and default != {}:
            assert yaml.safe_load(written.strip("`")) == default, key


def subsection(title: str) -> str:
    return RECIPES.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", RECIPES, re.DOTALL))
def test_every_example_of_recipes_loads(block: str, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(MINIMAL + block)
    recipes = load_spec(file).recipes
    assert block.startswith("recipes:\n") and block.count("  - backend: ") == len(recipes)
    if "grid" in block:
        assert len(load_spec(file).candidates) == 4


def test_every_kind_of_recipe_has_an_example() -> None:
    assert all("```yaml" in subsection(title) for title in KINDS_OF_RECIPES)
    shown = set(re.findall(r"  - backend: (\w+)", RECIPES))
    assert {"local", "ssh", "kubernetes", "openai", "vertex"} < shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_is_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)", page.read_text())
    lost = [(path, name) for path, name in links if name not in anchors(page.parent / path if path else page)]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one(page: Path) -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = re.findall(r"(?:^|`)retune ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE)
    assert set(named) <= known


def section(title: str) -> str:
    """Return a section of the page on the data."""
    return DATA.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_page_on_the_data_names_every_reason_in_order() -> None:
    assert first_cells(section("Rows that are left out")) == list(REASONS)


def test_it_names_every_expectation_and_computed_column() -> None:
    text = section("Expectations")
    assert sorted(first_cells(text)) == sorted(RULES)
    assert set(re.findall(r"`(retune_\w+)`", text)) <= FEATURES.keys()


def test_it_names_every_kind_of_personal_data() -> None:
    assert first_cells(section("Personal data")) == list(KINDS)
    assert re.findall(r"`<([A-Z_]+)_1>` \|", section("Personal data")) == list(KINDS)


def test_its_suite_is_one(tmp_path: Path) -> None:
    block = re.findall(r"```json\n(.*?)```", section("Expectations"), re.DOTALL)[0]
    file = tmp_path / "suite.json"
    file.write_text(block)
    chosen = tuple(read_suite(file))
    assert len(check(Suite((), chosen))) == len(chosen) == 4


def test_its_example_rows_are_read() -> None:
    found = re.findall(r"\*\*`(\w+)`\*\*.*?```json\n(.*?)```", section("Shapes"), re.DOTALL)
    assert [shape for shape, _ in found] == list(get_args(Shape))
    for shape, rows in found:
        columns = Columns(prompt="text", completion="queue") if shape == "columns" else Columns()
        read = reader_of(Data(sources=("-",), format=shape, columns=columns))
        for row in rows.splitlines():
            turns = read(json.loads(row))
            assert roles_in_order(turns) and ends_with_assistant(turns)


@pytest.mark.parametrize("stage", ["data", "backends"])
def test_the_plan_of_the_house_names_every_module_of_large_stages(stage: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = re.split("Inside `|Around the stages", text.partition(f"Inside `{stage}/`")[2])[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    named = {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    folder = ROOT / "plugins" / "retune" / stage
    modules = {
        path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__", "prepare"}
    assert {name for name in modules if not any(fnmatch(name, pattern) for pattern in named)} == set()
    assert {pattern for pattern in named if not any(fnmatch(name, pattern) for name in modules)} == set()
