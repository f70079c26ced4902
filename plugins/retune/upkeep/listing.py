"""What lies where: the artifacts' store, captured traffic, this host's job folders and working files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from retune import stored
from retune.artifacts import Artifacts
from retune.evaluation.answers import kept_files
from retune.settings import Settings
from retune.stored import Blob, Scratch
from retune.text.traffic import folder_day


@dataclass(frozen=True)
class Folder:
    """A folder that may go as a whole."""

    name: str
    """The job's key, or the pipeline."""
    path: str
    size: int
    day: date | None = None


@dataclass(frozen=True)
class Listing:
    """Everything that a cleanup may look at."""

    blobs: tuple[Blob, ...] = ()
    traffic: tuple[Folder, ...] = ()
    """Captured traffic, a folder a day."""
    jobs: tuple[Folder, ...] = ()
    """Job folders of this host."""
    scratch: tuple[Scratch, ...] = ()
    """Working files of this host."""
    answers: tuple[Folder, ...] = ()
    """Files of models' answers on this host, with the day of the first one in each."""


def look(settings: Settings, artifacts: Artifacts) -> Listing:
    """List it all; nothing is read but names and sizes."""
    return Listing(
        tuple(stored.blobs(artifacts)),
        tuple(_traffic(settings.captured_url)),
        tuple(_jobs(settings.jobs)),
        tuple(stored.scratch(settings.home)),
        tuple(_answers(settings)),
    )


def trees(artifacts: Artifacts, digests: Iterable[str], known: dict[str, tuple[str, ...]]) -> None:
    """Read the manifests of trees into `known`.

    One that is not stored has no files: nothing could be put together of them.

    Raises:
        ArtifactError: A manifest is damaged; what it names cannot be told from what nobody needs.
    """
    for digest in digests:
        if digest not in known and digest.startswith("sha256:"):
            there = artifacts.exists(digest)
            known[digest] = tuple(artifacts.manifest(digest).values()) if there else ()


def _traffic(url: str) -> list[Folder]:
    import fsspec

    files, root = fsspec.url_to_fs(url)
    files.invalidate_cache()
    found: list[Folder] = []
    for pipeline in _listed(files, root):
        for path in _listed(files, pipeline):
            if day := folder_day(path):
                found.append(Folder(pipeline.rsplit("/", 1)[-1], path, int(files.du(path)), day))
    return found


def _listed(files: Any, folder: str) -> list[str]:
    try:
        return sorted(str(name).rstrip("/") for name in files.ls(folder, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _answers(settings: Settings) -> Iterable[Folder]:
    for pipeline, path, first in kept_files(settings):
        yield Folder(pipeline, str(path), stored.measure(path)[0], first.date())


def _jobs(folder: Path) -> list[Folder]:
    return [
        Folder(path.name, str(path), stored.measure(path)[0])
        for path in sorted(folder.glob("*"))
        if path.is_dir() and not path.is_symlink()
    ]
