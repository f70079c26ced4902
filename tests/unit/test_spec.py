from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import composite
from jsonschema import Draft202012Validator

from retune.errors import Problem, SpecError
from retune.schema import spec_schema, write_schema
from retune.spec import LocalRecipe, OpenAIRecipe, PipelineSpec, VertexRecipe, load_spec, seconds
from retune.spec.recipes import OtherRecipe

ROOT = Path(__file__).resolve().parents[2]

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


def problems_of(tmp_path: Path, text: str) -> list[Problem]:
    file = tmp_path / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert all(problem.file == str(file) for problem in caught.value.problems)
    return caught.value.problems


def test_a_short_spec_is_enough(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(GOOD)
    spec = load_spec(tmp_path / "spec.yaml")
    (recipe,) = spec.recipes
    assert isinstance(recipe, LocalRecipe)
    assert (spec.pipeline, recipe.lora.r, spec.watch.schedule) == ("tickets", 16, "@hourly")


def test_all_problems_come_together_with_their_lines(tmp_path: Path) -> None:
    text = """\
version: 1
pipeline: Tickets!
ownr: me
data:
  sources: []
  columns: {prompt: text}
  expectations: suite.json
  min_examples: many
  split: {validation: 0.45, held_out: 0.4}
task: {labels: [a, b, a]}
recipes:
  - {base_model: one}
  - base_model: two
    learning_rate: 3
evaluation: {endpoint: vllm, timeout: soon}
evaluation: {endpoint: vllm}
deploy: {alias: tickets}
watch:
  schedule: sometimes
"""
    found = {(problem.line, problem.what.split(":")[0]) for problem in problems_of(tmp_path, text)}
    assert found == {
        (2, "pipeline"),
        (3, "unknown key 'ownr'"),
        (5, "data.sources"),
        (6, "data.columns"),
        (8, "data.min_examples"),
        (9, "data.split"),
        (10, "task.labels"),
        (14, "recipes.1.learning_rate"),
        (16, "key 'evaluation' stands twice"),
        (17, "'deploy.endpoint' is missing"),
        (19, "watch.schedule"),
    }


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("pipeline: tickets", "pipeline: retune", "reserved"),
        (
            "  - {base_model: some/model}",
            "  - {base_model: a}\n  - {base_model: b}",
            "several local base models",
        ),
        ("alias: tickets", "alias: tickets, canary: [5]", "unknown key 'deploy.canary'"),
        ("version: 1", "version: 2", "version"),
        ("version: 1", "version: 1\nschedule: {timezone: Europe/Atlantis}", "schedule.timezone"),
        ("recipes:", "  caps: {label: 20}\ntask: {kind: generation}\nrecipes:", "data.caps.label"),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    (problem,) = problems_of(tmp_path, GOOD.replace(old, new))
    assert what in problem.what


EXAMPLES: dict[str, dict[str, Any]] = {
    "local": {"base_model": "m", "tuning": "qlora", "packing": True, "queue": "gpu"},
    "ssh": {"base_model": "m", "connection": "box", "folder": "~/retune"},
    "kubernetes": {"base_model": "m", "image": "i", "volume": "v", "gpus": 2, "namespace": "n"},
    "openai": {"base_model": "gpt-4.1-mini-2025-04-14", "epochs": 3, "suffix": "x"},
    "vertex": {"base_model": "gemini-2.5-flash", "bucket": "gs://rows", "adapter_size": 4},
    "acme": {"base_model": "a", "options": {"effort": ["high", 1, None]}},
}
KINDS = {"ssh": LocalRecipe, "kubernetes": LocalRecipe, "local": LocalRecipe, "openai": OpenAIRecipe}
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


@pytest.mark.parametrize(
    "text",
    ["", "- a\n- b\n", "a: [", "a: 2026-99-99", "a: 0x_", "a: &a [*a]", "[" * 3000, "? [a]\n: b", "a: \x00"],
)
def test_what_is_no_spec_is_one_spec_error(tmp_path: Path, text: str) -> None:
    assert problems_of(tmp_path, text)


def test_a_missing_and_a_binary_file_are_spec_errors(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.yaml", "binary.yaml"):
        with pytest.raises(SpecError, match=r"\.yaml: cannot be read"):
            load_spec(tmp_path / name)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
@example("{version: 1, 1: 2, null: 3}")
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("spec") / "spec.yaml"
    file.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(SpecError):
        load_spec(file)


@composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """Recipes of every kind, some with a grid."""
    backend = draw(st.sampled_from(sorted(EXAMPLES)))
    recipe = {"backend": backend} | EXAMPLES[backend]
    if isinstance(recipe.get("queue"), str):
        del recipe["queue"]  # the local ones of a spec share it
    epochs = st.integers(1, 50)
    if backend == "acme":
        values = st.recursive(
            st.none()
            | st.booleans()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            st.lists,
        )
        return recipe | {"options": draw(st.dictionaries(st.text(max_size=5), values, max_size=3))}
    rate = "learning_rate" if KINDS.get(backend) is LocalRecipe else "learning_rate_multiplier"
    recipe |= {"epochs": draw(epochs), rate: draw(st.floats(1e-9, 0.99))}
    if draw(st.booleans()):
        recipe["grid"] = {"epochs": draw(st.lists(epochs, min_size=1, max_size=3, unique=True))}
    return recipe


@composite
def specs(draw: st.DrawFn) -> PipelineSpec:
    """Specs with every kind of value that a section takes."""
    words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
    data: dict[str, Any] = yaml.safe_load(GOOD)
    data["data"] |= {
        "sources": draw(st.lists(words, min_size=1, max_size=3)),
        "system_prompt": draw(words),
        "min_examples": draw(st.integers(10, 10**6)),
        "split": {"validation": draw(st.floats(0.01, 0.4)), "held_out": draw(st.floats(0.01, 0.4))},
    }
    data["task"] = {"labels": draw(st.lists(words, unique=True, max_size=5))}
    data["recipes"] = draw(st.lists(recipes(), min_size=1, max_size=4))
    data["seed"] = draw(st.integers())
    return PipelineSpec.model_validate(data)


@given(specs())
def test_a_frozen_spec_comes_back_as_it_was(spec: PipelineSpec) -> None:
    stored = json.loads(json.dumps(spec.to_json()))
    assert PipelineSpec.from_json(stored) == spec
    assert PipelineSpec.from_json(stored).candidates == spec.candidates
    assert PipelineSpec.from_json(stored).digest == spec.digest


@given(specs(), st.randoms())
def test_order_of_keys_does_not_matter_and_values_do(spec: PipelineSpec, random: Any) -> None:
    stored = spec.to_json()
    shuffled = dict(random.sample(list(stored.items()), len(stored)))
    assert PipelineSpec.from_json(shuffled).digest == spec.digest
    changed = copy.deepcopy(stored) | {"seed": spec.seed + 1}
    assert PipelineSpec.from_json(changed).digest != spec.digest


def test_durations() -> None:
    assert [seconds(text) for text in ("30s", "15m", "24h", "7d")] == [30, 900, 86_400, 604_800]


def test_the_published_schema_is_current() -> None:
    published = (ROOT / "docs" / "spec.schema.json").read_bytes()
    assert published == spec_schema(), "run `retune schema`"


def test_the_schema_takes_what_the_reader_takes(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    schema = Draft202012Validator(json.loads((tmp_path / "schema.json").read_bytes()))
    for path in (ROOT / "include" / "pipelines").glob("*.yaml"):
        schema.validate(yaml.safe_load(path.read_text()))
        load_spec(path)
    assert not schema.is_valid(yaml.safe_load(GOOD) | {"ownr": "me"})
    for backend, given_keys in EXAMPLES.items():
        recipe = {"backend": backend} | given_keys
        schema.validate(yaml.safe_load(GOOD) | {"recipes": [recipe]})
        assert not schema.is_valid(yaml.safe_load(GOOD) | {"recipes": [recipe | {"epoch": 3}]})
