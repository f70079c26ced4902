"""Recipes of a spec, resolved: the base model at its exact bytes, the trainer at its major version."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from retune.artifacts import digest_of, digest_of_tree
from retune.errors import BackendError, Problem, RetuneError
from retune.records import Model, Recipe
from retune.settings import Settings
from retune.spec import LocalRecipe, PipelineSpec, RecipeSpec

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TRL_ELSEWHERE = "1"
_ASK_TRL = "import importlib.metadata as m; print(m.version('trl'))"


def resolve_recipes(
    spec: PipelineSpec,
    settings: Settings,
    champion: Model | None = None,
    wanted: Callable[[RecipeSpec], bool] = lambda _: True,
) -> list[Recipe]:
    """Say what exactly recipes will train.

    Args:
        spec: The frozen spec.
        settings: Where paths resolve, and the trainer's interpreter.
        champion: The model that is live, to start from where a recipe says so.
        wanted: Which of the spec's recipes to resolve.

    Returns:
        One recipe for each, in the spec's order.

    Raises:
        BackendError: Lists every base model that is unknown or cannot be used.
    """
    resolved, problems = [], []
    for index, recipe in enumerate(spec.candidates):
        if not wanted(recipe):
            continue
        try:
            resolved.append(_resolve(index, recipe, spec, settings, champion))
        except RetuneError as error:
            problems += error.problems
    if problems:
        raise BackendError(dict.fromkeys(problems))
    return resolved


def _resolve(
    index: int, recipe: RecipeSpec, spec: PipelineSpec, settings: Settings, champion: Model | None
) -> Recipe:
    local = isinstance(recipe, LocalRecipe)
    # What a service has under a name may change, but nothing tells of it.
    base_digest, template, trainer = f"{recipe.backend}:{recipe.base_model}", "", recipe.backend
    if local:
        base_digest, template = _base(recipe.base_model, settings)
        # Elsewhere it is the box or the image that must have this version.
        here = recipe.backend == "local"
        trainer = f"trl {trainer_version(settings.trainer_python).split('.')[0] if here else _TRL_ELSEWHERE}"
    hyperparameters = recipe.hyperparameters
    if hyperparameters.get("warm_start") == "champion":
        fits = champion and champion.kind == "adapter" and champion.base_model == recipe.base_model
        hyperparameters["warm_start"] = champion.digest if champion and fits else ""
    return Recipe(
        spec_digest=spec.digest,
        index=index,
        backend=recipe.backend,
        base_model=recipe.base_model,
        base_digest=base_digest,
        chat_template_digest=digest_of(template.encode()) if template else "",
        method=recipe.method,
        hyperparameters=hyperparameters,
        seed=spec.seed,
        trainer=trainer,
        place=recipe.place,
    )


@cache
def trainer_version(python: str) -> str:
    """Return the version of TRL that an interpreter has.

    Raises:
        BackendError: The interpreter cannot be run, or has no TRL.
    """
    action = "install the `local` extra there, or set RETUNE_TRAINER_PYTHON"
    try:
        asked = subprocess.run([python, "-c", _ASK_TRL], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"the trainer's interpreter {python} cannot be run: {error}", action) from error
    if asked.returncode != 0:
        raise BackendError(f"the trainer's interpreter {python} has no TRL", action)
    return asked.stdout.strip()


def base_folder(base_model: str, settings: Settings) -> Path | None:
    """Return the folder that a base model names, or None where it is a Hugging Face id."""
    folder = settings.resolve(base_model)
    return folder if folder.is_dir() else None


def _base(base_model: str, settings: Settings) -> tuple[str, str]:
    """Return a base model's digest and its chat template."""
    folder = base_folder(base_model, settings)
    if folder is not None:
        return digest_of_tree(folder), _template(base_model, folder)
    if not _HUB_ID.fullmatch(base_model):
        raise BackendError(
            f"base model {base_model!r} is no folder (looked for {settings.resolve(base_model)})",
            "give a folder against the project's root, or a Hugging Face id",
        )
    commit, snapshot = _hub_snapshot(base_model, settings)
    return f"hf:{commit}", _template(base_model, snapshot)


def _hub_snapshot(base_model: str, settings: Settings) -> tuple[str, Path]:
    """Return a Hugging Face id's commit, and a folder with its configuration."""
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise BackendError(f"base model {base_model}: {error}", "install the `local` extra") from error
    try:
        # The cache names a snapshot's folder by its commit, and serves it where the hub is not reached.
        commit = Path(hf_hub_download(base_model, "config.json")).parent.name
        small = ["config.json", "tokenizer_config.json", "chat_template.jinja"]
        return commit, Path(snapshot_download(base_model, revision=commit, allow_patterns=small))
    except RepositoryNotFoundError as error:
        raise BackendError(
            f"base model {base_model!r} is neither a folder ({settings.resolve(base_model)})"
            " nor a model on the hub that this account may read",
            "mend its name, or set HF_TOKEN for a gated model",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BackendError(
            f"base model {base_model!r} is no folder ({settings.resolve(base_model)}),"
            f" and the hub gave no answer: {reason}",
            "check the network, or give a folder",
        ) from error


def _template(base_model: str, folder: Path) -> str:
    """Return the chat template that the tokenizer's files hold."""
    try:
        if (path := folder / "chat_template.jinja").is_file():
            return path.read_text(encoding="utf-8")
        template = json.loads((folder / "tokenizer_config.json").read_bytes()).get("chat_template")
    except (OSError, ValueError) as error:
        raise BackendError(
            f"base model {base_model!r} is not whole: {error}",
            "the folder needs config.json, a tokenizer with a chat template, and safetensors weights",
        ) from error
    if not isinstance(template, str) or not template:
        raise BackendError(
            [
                Problem(
                    f"base model {base_model!r} has no chat template",
                    "choose an instruction-tuned base model",
                    str(folder),
                )
            ]
        )
    return template
