"""The spec as a whole: what it takes, what it refuses, and how it is frozen."""

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

from retune.errors import SpecError
from retune.schema import spec_schema, write_schema
from retune.spec import LocalRecipe, PipelineSpec, load_spec, seconds
from tests.unit.specs import EXAMPLES, GOOD, KINDS, problems_of

ROOT = Path(__file__).resolve().parents[2]


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
