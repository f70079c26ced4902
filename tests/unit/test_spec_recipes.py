"""The spec's recipes: every kind, grids, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from retune.spec import LocalRecipe, PipelineSpec, VertexRecipe, load_spec
from retune.spec.recipes import OtherRecipe
from tests.unit.specs import EXAMPLES, GOOD, KINDS, problems_of

GRADER = {"type": "string_check", "name": "q", "operation": "eq", "input": "a", "reference": "b"}


def with_recipe(**recipe: Any) -> str:
    """Return a spec with a good recipe on line 8, and this one from line 9, a key a line."""
    block = yaml.safe_dump([recipe], sort_keys=False, default_flow_style=False)
    return GOOD.replace("  - {base_model: some/model}\n", "- {backend: acme, base_model: a}\n" + block)


@pytest.mark.parametrize("backend", EXAMPLES)
def test_each_kind_of_recipe_loads(backend: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(with_recipe(backend=backend, **EXAMPLES[backend]))
    _, recipe = load_spec(tmp_path / "spec.yaml").recipes
    assert type(recipe) is KINDS.get(backend, VertexRecipe if backend == "vertex" else OtherRecipe)
    assert recipe.backend == backend and EXAMPLES[backend].items() <= recipe.model_dump().items()


@pytest.mark.parametrize("backend", EXAMPLES)
def test_what_says_where_it_trains_is_no_part_of_what_is_trained(backend: str) -> None:
    keys = {"backend": backend} | EXAMPLES[backend]
    (recipe,) = PipelineSpec.model_validate(yaml.safe_load(GOOD) | {"recipes": [keys]}).recipes
    assert not recipe.hyperparameters.keys() & {"backend", "base_model", "method", "grid", *recipe.in_place}
    assert recipe.place.items() >= {key: str(keys[key]) for key in recipe.in_place if key in keys}.items()


@pytest.mark.parametrize("backend", EXAMPLES)
def test_wrong_keys_of_each_kind_are_named_with_their_line(backend: str, tmp_path: Path) -> None:
    keys = EXAMPLES[backend]
    (bad,) = problems_of(tmp_path, with_recipe(backend=backend, epoch=3, **keys))
    # By its name in the file, without what pydantic calls the kind.
    assert (bad.what, bad.line) == ("unknown key 'recipes.1.epoch'", 10)
    (empty,) = problems_of(tmp_path, with_recipe(backend=backend, **keys | {"base_model": ""}))
    assert empty.what.startswith("recipes.1.base_model: ") and empty.line == 10
    rest = {key: value for key, value in keys.items() if key != "base_model"}
    (missing,) = problems_of(tmp_path, with_recipe(backend=backend, **rest))
    assert (missing.what, missing.line) == ("'recipes.1.base_model' is missing", 9)


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ({"backend": "ssh", "base_model": "m"}, "recipes.1: backend ssh needs connection and folder"),
        ({"backend": "ssh", "base_model": "m", "folder": "f"}, "recipes.1: backend ssh needs connection"),
        (
            {"backend": "kubernetes", "base_model": "m"},
            "recipes.1: backend kubernetes needs image and volume",
        ),
        ({"backend": "vertex", "base_model": "m"}, "'recipes.1.bucket' is missing"),
        ({"backend": "vertex", "base_model": "m", "bucket": "s3://rows"}, "recipes.1.bucket: "),
        (
            {"backend": "vertex", "base_model": "m", "bucket": "gs://rows", "adapter_size": 3},
            "recipes.1.adapter_size: ",
        ),
        ({"backend": "local", "base_model": "m", "method": "reinforcement"}, "recipes.1.method: "),
        ({"backend": "local", "base_model": "m", "lora": {"rank": 8}}, "unknown key 'recipes.1.lora.rank'"),
        ({"backend": "openai", "base_model": "m", "grader": GRADER}, "method: reinforcement and a grader go"),
        (
            {"backend": "openai", "base_model": "m", "method": "reinforcement"},
            "recipes.1: method: reinforcement and a grader go together",
        ),
        ({"backend": "openai", "base_model": "m", "beta": 0.1}, "recipes.1: beta belongs to method: dpo"),
        ({"backend": "A B", "base_model": "m"}, "recipes.1.backend: "),
        ({"backend": ["local"], "base_model": "m"}, "recipes.1.backend: "),
    ],
)
def test_impossible_recipes_are_refused(recipe: dict[str, Any], what: str, tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, with_recipe(**recipe))
    assert what in problem.what and problem.line and problem.line >= 9


def test_a_recipe_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, GOOD.replace("some/model}", "some/model}\n  - some/model"))
    assert problem.what.startswith("recipes.1: ") and problem.line == 9


def test_reinforcement_takes_a_grader_as_it_is(tmp_path: Path) -> None:
    method = {"method": "reinforcement", "grader": GRADER, "reasoning_effort": "low"}
    (tmp_path / "spec.yaml").write_text(with_recipe(backend="openai", base_model="m", **method))
    _, recipe = load_spec(tmp_path / "spec.yaml").recipes
    assert recipe.hyperparameters["grader"] == GRADER


def test_a_grid_stands_for_every_combination_in_order(tmp_path: Path) -> None:
    grid = {"epochs": [1, 2], "lora": [{"r": 8}, {"r": 32}]}
    (tmp_path / "spec.yaml").write_text(with_recipe(base_model="m", learning_rate=0.01, grid=grid))
    spec = load_spec(tmp_path / "spec.yaml")
    tried = [one for one in spec.candidates if isinstance(one, LocalRecipe)]
    assert [(one.epochs, one.lora.r) for one in tried] == [(1, 8), (1, 32), (2, 8), (2, 32)]
    assert all((one.learning_rate, one.grid) == (0.01, {}) for one in tried)
    assert len(spec.recipes) == 2 and len(spec.candidates) == 5


@pytest.mark.parametrize(
    ("grid", "what"),
    [
        ({"epoch": [1, 2]}, "recipes.1.grid: 'epoch' is no key to try several values of"),
        ({"grid": [{}]}, "'grid' is no key"),
        ({"backend": ["local"]}, "'backend' is no key"),
        ({"queue": ["a", "b"]}, "'queue' is no key"),
        ({"epochs": []}, "stands for 0 recipes; 1 to 16 are allowed"),
        ({"epochs": [1, 2, 3, 4, 5], "patience": [1, 2, 3, 4]}, "stands for 20 recipes; 1 to 16"),
        ({"epochs": [1, 0]}, "recipes.1: grid: with {'epochs': 0}, epochs: "),
        ({"epochs": 3}, "recipes.1.grid.epochs: "),
        ({"lora": [{"rank": 3}]}, "recipes.1: grid: with {'lora': {'rank': 3}}, lora.rank: "),
    ],
)
def test_a_bad_grid_is_refused(grid: dict[str, Any], what: str, tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, with_recipe(base_model="m", grid=grid))
    assert what in problem.what and problem.line and problem.line >= 9


def test_the_only_recipe_that_is_bad_is_said_once(tmp_path: Path) -> None:
    (problem,) = problems_of(
        tmp_path, with_recipe(base_model="m", epohs=3).replace("  - {base_model: a}\n", "")
    )
    assert problem.what.startswith("unknown key 'recipes.")


@pytest.mark.parametrize("value", [".inf", ".nan", "2026-11-26"])
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: str) -> None:
    recipe = f"  - {{backend: acme, base_model: m, options: {{deep: [{value}]}}}}\n"
    assert problems_of(tmp_path, GOOD.replace("  - {base_model: some/model}\n", recipe))


def test_grids_of_one_run_are_counted_together(tmp_path: Path) -> None:
    recipes = yaml.safe_dump([{"base_model": "m", "grid": {"epochs": list(range(1, 17))}}] * 3)
    (problem,) = problems_of(tmp_path, GOOD.replace("  - {base_model: some/model}\n", recipes))
    assert "stand for 48 recipes, at most 32" in problem.what and problem.line == 7


def test_recipes_of_all_kinds_compete_in_one_spec() -> None:
    recipes = [{"backend": name} | EXAMPLES[name] for name in EXAMPLES if name != "local"]
    spec = PipelineSpec.model_validate(yaml.safe_load(GOOD) | {"recipes": recipes})
    assert [recipe.backend for recipe in spec.candidates] == ["ssh", "kubernetes", "openai", "vertex", "acme"]
