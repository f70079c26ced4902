"""`retune init`: a first spec and suite for rows that nobody has described yet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from retune.artifacts import write_atomically
from retune.data.blocks import cut
from retune.data.first_spec import write_spec, write_suite
from retune.data.profiling import Guess, profile
from retune.data.rows import BadLine
from retune.data.sources import find_sources
from retune.errors import DataError, Problem, SpecError
from retune.settings import EnvironmentFileSystems, FileSystems, Settings
from retune.spec import NAME, PipelineSpec


def start(
    name: str,
    data: Sequence[str],
    settings: Settings,
    console: Console,
    *,
    force: bool = False,
    files: FileSystems | None = None,
) -> tuple[Path, Path]:
    """Profile rows and write a pipeline's spec and suite, both or neither.

    Args:
        name: The pipeline.
        data: Files, globs and URLs; a path may be against the working directory or the project.
        settings: The project.
        console: Takes what was guessed, and why.
        force: Write over files that are there.
        files: Opens stores of files; none: with the environment's credentials.

    Returns:
        The spec's file and the suite's.

    Raises:
        SpecError: The name cannot be a pipeline's.
        DataError: The files are there already, or the rows say nothing.
    """
    if not re.fullmatch(NAME, name) or name == "retune":
        raise SpecError(f"{name!r} cannot name a pipeline", "use up to 40 of a-z, 0-9 and -, not retune")
    spec_file = settings.project / "include" / "pipelines" / f"{name}.yaml"
    suite_file = settings.project / "include" / "expectations" / f"{name.replace('-', '_')}.json"
    there = [path for path in (spec_file, suite_file) if path.exists()]
    if there and not force:
        raise DataError([Problem("is there already", "--force writes over it", str(path)) for path in there])
    sources = [_against_project(pattern, settings.project) for pattern in data]
    bad: list[Guess] = []
    found = profile(_rows(sources, settings, files or EnvironmentFileSystems(), bad))
    text = write_spec(name, sources, suite_file.relative_to(settings.project).as_posix(), found)
    suite = write_suite(PipelineSpec.model_validate(yaml.safe_load(text)), found)
    _write({suite_file: suite.encode(), spec_file: text.encode()})
    for guess in (*found.guesses, *_shorten(bad)):
        console.print(
            f"  {guess.what}: {guess.value} ({guess.why})", markup=False, highlight=False, soft_wrap=True
        )
    for path in (spec_file, suite_file):
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"read them through, then run: retune check {spec_file}", markup=False, soft_wrap=True)
    return spec_file, suite_file


def _against_project(pattern: str, project: Path) -> str:
    """Return a path as a spec has it: against the project where it lies in it, else absolute."""
    path = Path(pattern).absolute()
    if "://" in pattern or not path.exists():
        return pattern
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)


def _rows(
    sources: Sequence[str], settings: Settings, files: FileSystems, bad: list[Guess]
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of all sources; what cannot be read goes to `bad`."""
    for block in cut(find_sources(tuple(sources), settings, files), (), lambda name, digest: None):
        for item, _ in block.rows():
            if isinstance(item, BadLine):
                place = f"{block.file}:{item.line}"
                bad.append(Guess("cannot be read", place, f"{item.what}; {item.action}"))
            else:
                yield item[1]


def _shorten(bad: Sequence[Guess], most: int = 5) -> list[Guess]:
    rest = [Guess("cannot be read", f"{len(bad) - most} lines more", "mend them, or they stop a run")]
    return [*bad[:most], *(rest if len(bad) > most else [])]


def _write(files: Mapping[Path, bytes]) -> None:
    """Write all files; where one cannot be written, leave all as they were."""
    before: dict[Path, bytes] = {}
    written: list[Path] = []
    try:
        before.update((path, path.read_bytes()) for path in files if path.is_file())
        for path, data in files.items():
            write_atomically(path, data)
            written.append(path)
    except OSError as error:
        for path in written:
            if path in before:
                write_atomically(path, before[path])
            else:
                path.unlink()
        raise DataError(f"nothing was written: {error}", "mend the permissions, or free space") from error
