"""The job directory as its sender sees it: the same for a trainer here, by SSH or on Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from retune.artifacts import digest_of_tree, write_atomically
from retune.backends.base import Curves, Installation, Order, Point, Trained
from retune.backends.recipes import base_folder
from retune.errors import ArtifactError, BackendError, Problem
from retune.settings import Settings
from retune.training.job import JobFolder, TrainingJob

_TOLD = {"at", "step", "total_steps", "epoch", "seconds"}
_OWN_FIELDS = ("warm_start", "processes")


def validate(order: Order, settings: Settings) -> None:
    """Refuse an empty side, or a base model that changed since the recipe was resolved.

    Raises:
        BackendError: Lists all that is wrong.
    """
    problems = [
        Problem(f"the {name} side of dataset {order.dataset.digest} is empty", "add rows")
        for name, split in (("training", order.dataset.train), ("validation", order.dataset.validation))
        if split.rows == 0
    ]
    recipe = order.recipe
    if recipe.base_digest.startswith("sha256:"):
        folder = base_folder(recipe.base_model, settings)
        found = digest_of_tree(folder) if folder else "missing"
        if found != recipe.base_digest:
            what = f"base model {recipe.base_model} is {found}, but the recipe was resolved with"
            problems.append(Problem(f"{what} {recipe.base_digest}", "start a new run"))
    if problems:
        raise BackendError(problems)


def write(folder: JobFolder, order: Order, installation: Installation) -> None:
    """Write the directory of an order: its rows, the adapter it starts from, and job.json last.

    Raises:
        ArtifactError: The rows or the adapter are no longer stored.
        BackendError: The directory cannot be written.
    """
    recipe, artifacts = order.recipe, installation.artifacts
    given = {name: value for name, value in recipe.hyperparameters.items() if name not in _OWN_FIELDS}
    with writing(folder):
        paths = {}
        for side in ("train", "validation"):
            data = artifacts.get_bytes(getattr(order.dataset, side).artifact.digest)
            paths[side] = folder.path / "data" / f"{side}.jsonl"
            write_atomically(paths[side], data)
        start = recipe.hyperparameters.get("warm_start") or None
        if start:
            start = str(artifacts.get_tree(start, folder.path / "start"))
        base = base_folder(recipe.base_model, installation.settings)
        folder.write_job(
            TrainingJob(
                train=str(paths["train"]),
                validation=str(paths["validation"]),
                base_model=str(base or recipe.base_model),
                base_name=recipe.base_model,
                base_revision=None if base else recipe.base_digest.removeprefix("hf:"),
                hyperparameters=given,
                seed=recipe.seed,
                method=recipe.method,  # type: ignore[arg-type]
                warm_start=start,
                processes=recipe.hyperparameters.get("processes", 1),
            )
        )


def curves(folder: JobFolder) -> Curves:
    """Return what the directory's progress says."""
    entries = folder.read_progress()
    return Curves(
        tuple(_point(entry) for entry in entries), int(entries[-1]["total_steps"]) if entries else 0
    )


def fetch(folder: JobFolder, installation: Installation) -> Trained:
    """Store the directory's model as an artifact.

    Raises:
        BackendError: It cannot be stored.
    """
    try:
        artifact = installation.artifacts.put_tree(folder.model)
    except (ArtifactError, OSError) as error:
        raise BackendError(f"the model in {folder.model} cannot be stored: {error}") from error
    is_adapter = (folder.model / "adapter_config.json").is_file()
    return Trained("adapter" if is_adapter else "weights", artifact.digest, artifact.uri)


@contextmanager
def writing(folder: JobFolder) -> Iterator[None]:
    """Turn what hinders writing in the directory into one clear error.

    Raises:
        BackendError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise BackendError(
            f"the job directory {folder.path} cannot be written: {error}",
            "free space or mend its permissions, then run again",
        ) from error


def _point(entry: dict[str, Any]) -> Point:
    values = {name: float(value) for name, value in entry.items() if name not in _TOLD}
    return Point(int(entry["step"]), float(entry["seconds"]), values)
