"""Finds the pipelines of a project, broken ones too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from retune.errors import Problem, SpecError
from retune.spec import NAME, PipelineSpec, load_spec

_NAMED = re.compile(r"^pipeline:\s*[\"']?([a-z0-9-]{1,40})[\"']?\s*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that a project names, with its spec or with what is wrong with it."""

    name: str
    spec: PipelineSpec | None
    problems: tuple[Problem, ...] = ()

    def require(self) -> PipelineSpec:
        """Return the spec; raises SpecError with every problem where it cannot be used."""
        if self.spec is None:
            raise SpecError(self.problems)
        return self.spec


def find_pipelines(project: Path) -> list[Pipeline]:
    """Read every `include/pipelines/*.yaml` of a project; a broken file breaks only its own pipeline."""
    files: dict[str, list[Path]] = {}
    for path in sorted((project / "include" / "pipelines").glob("*.y*ml")):
        files.setdefault(_name(path), []).append(path)
    return [_read(name, paths) for name, paths in files.items()]


def find_pipeline(project: Path, name: str) -> Pipeline:
    """Return one pipeline of a project; raises SpecError where no file names it."""
    for pipeline in find_pipelines(project):
        if pipeline.name == name:
            return pipeline
    raise SpecError(
        f"no file in {project / 'include' / 'pipelines'} has `pipeline: {name}`",
        "restore it, or delete the DAG",
    )


def _read(name: str, paths: Iterable[Path]) -> Pipeline:
    first, *others = paths
    if others:
        what, action = (
            f"{first.name} names pipeline {name!r} too",
            "one file a pipeline: rename or remove one",
        )
        return Pipeline(name, None, tuple(Problem(what, action, str(path)) for path in others))
    try:
        return Pipeline(name, load_spec(first))
    except SpecError as error:
        return Pipeline(name, None, tuple(error.problems))


def _name(path: Path) -> str:
    """Return the pipeline's name, even where the rest of the file cannot be read."""
    named = _NAMED.search(path.read_text(encoding="utf-8", errors="replace"))
    if named:
        return named[1]
    stem = re.sub(r"[^a-z0-9-]+", "-", path.stem.lower())[:40]
    return stem if re.match(NAME, stem) else "unnamed"
