"""Recipes are resolved to exact bytes, and what cannot be is refused, all together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import digest_of, digest_of_tree
from retune.backends.recipes import resolve_recipes
from retune.errors import BackendError
from retune.settings import Settings
from retune.spec import PipelineSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def spec(*base_models: str, **recipe: Any) -> PipelineSpec:
    return PipelineSpec.model_validate(
        {
            "version": 1,
            "pipeline": "tickets",
            "data": {
                "sources": ["rows.jsonl"],
                "columns": {"prompt": "text", "completion": "queue"},
                "expectations": "suite.json",
            },
            "recipes": [{"base_model": name, **recipe} for name in base_models],
            "evaluation": {"endpoint": "vllm_default"},
            "deploy": {"endpoint": "vllm_default", "alias": "tickets"},
        }
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    base = tmp_path / "include" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    (base / "chat_template.jinja").write_text("{{ messages }}")
    return Settings.load({"project": str(tmp_path)}.get)


def test_a_folder_is_named_by_the_hash_of_its_files(settings: Settings) -> None:
    first, second = resolve_recipes(spec("include/base", "include/base", epochs=5), settings)
    assert first.base_digest == digest_of_tree(settings.resolve("include/base"))
    assert first.chat_template_digest == digest_of(b"{{ messages }}")
    assert (first.base_model, first.trainer) == ("include/base", "trl 1")
    assert first.hyperparameters["epochs"] == 5 and first.hyperparameters["lora"]["r"] == 16
    assert [first.index, second.index] == [0, 1]
    (settings.resolve("include/base") / "config.json").write_text('{"changed": true}')
    assert resolve_recipes(spec("include/base"), settings)[0].base_digest != first.base_digest


def test_a_template_in_the_tokenizers_configuration_counts(settings: Settings) -> None:
    base = settings.resolve("include/base")
    (base / "chat_template.jinja").unlink()
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert resolve_recipes(spec("include/base"), settings)[0].chat_template_digest == digest_of(
        b"{{ messages }}"
    )


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda base: (base / "chat_template.jinja").unlink(), "is not whole"),
        (
            lambda base: [
                (base / "chat_template.jinja").unlink(),
                (base / "tokenizer_config.json").write_text("{}"),
            ],
            "has no chat template -> choose an instruction-tuned base model",
        ),
        (lambda base: (base / "weights").symlink_to("/etc/hostname"), "is a link"),
        (lambda base: shutil.rmtree(base), "is no folder"),
    ],
    ids=["no tokenizer", "no template", "link", "missing"],
)
def test_a_base_model_that_cannot_be_used_is_refused(settings: Settings, break_it: Any, said: str) -> None:
    break_it(settings.resolve("include/base"))
    with pytest.raises(BackendError, match=said):
        resolve_recipes(spec("include/base"), settings)


@pytest.mark.parametrize("base_model", ["/nowhere/base", "./base", "a b"])
def test_what_is_neither_folder_nor_hub_id_is_said(settings: Settings, base_model: str) -> None:
    with pytest.raises(BackendError, match="is no folder .* Hugging Face id"):
        resolve_recipes(spec(base_model), settings)


def test_a_problem_that_recipes_share_is_said_once(settings: Settings) -> None:
    with pytest.raises(BackendError) as caught:
        resolve_recipes(spec("/nowhere/base", "/nowhere/base"), settings)
    assert len(caught.value.problems) == 1


def test_an_interpreter_without_trl_is_refused(settings: Settings, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(BackendError, match="has no TRL -> install the `local` extra"):
        resolve_recipes(spec("include/base"), replace(settings, trainer_python=str(bare)))
    with pytest.raises(BackendError, match="cannot be run"):
        resolve_recipes(spec("include/base"), replace(settings, trainer_python="/nowhere/python"))


def test_a_hub_id_is_named_by_its_commit_also_from_the_cache_alone(
    settings: Settings, tmp_path: Path
) -> None:
    cache = tmp_path / "hub" / "models--org--small"
    shutil.copytree(settings.resolve("include/base"), cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    script = (
        "import sys; from tests.unit.backends.test_recipes import *\n"
        "settings = Settings.load({'project': sys.argv[1]}.get)\n"
        "recipe, = resolve_recipes(spec('org/small'), settings)\n"
        "print(recipe.base_digest, recipe.chat_template_digest)\n"
        "try: resolve_recipes(spec('org/unknown'), settings)\n"
        "except BackendError as error: print(error)\n"
    )
    # The hub's library reads its settings when it is imported.
    env = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    asked = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=env,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    found, unknown = asked.stdout.splitlines()
    assert found == f"hf:{COMMIT} {digest_of(b'{{ messages }}')}"
    assert unknown.startswith("base model 'org/unknown' is no folder")
