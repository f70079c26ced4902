"""Where rows may lie: the artifacts, this host's job folders and pages, captured traffic."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from retune import stored
from retune.artifacts import Artifacts
from retune.erasure.rows import Found, Rows, look, may_have_rows
from retune.records import Exchange
from retune.settings import Settings
from retune.stored import Blob
from retune.text.conversations import normalise
from retune.text.traffic import folder_day, load, written_at

PARTIAL = ".partial"


def in_artifacts(artifacts: Artifacts, rows: Rows) -> Iterator[tuple[Blob, Found]]:
    """Yield every blob of the store that holds a person's rows, also those that nothing names.

    A write that was cut off leaves a rest, which may hold them too.
    """
    for blob in stored.blobs(artifacts):
        files, _ = artifacts.place(blob.digest)
        try:
            with files.open(blob.path, "rb") as file:
                found = _look(file, rows)
        except FileNotFoundError:
            continue  # published under its final name, or removed, in the meantime
        if found.rows:
            yield blob, found


def in_job_folders(settings: Settings, rows: Rows) -> Iterator[tuple[Path, Found]]:
    """Yield the copies that trainings on this host were given."""
    for path in sorted(settings.jobs.glob("*/data/*")):
        try:
            with path.open("rb") as file:
                found = look(file, rows)
        except (FileNotFoundError, IsADirectoryError):
            continue
        if found.rows:
            yield path, found


def in_traffic(settings: Settings, prompts: set[str]) -> Iterator[tuple[str, list[Exchange], int]]:
    """Yield captured files in which a person's own words were asked: path, the others, how many.

    A file that an agent could not finish is among them.
    """
    import fsspec

    files, root = fsspec.url_to_fs(settings.captured_url)
    for folder in _listed(files, root):
        for day in (name for name in _listed(files, folder) if folder_day(name)):
            for path in (name for name in _listed(files, day) if written_at(name.removesuffix(PARTIAL))):
                try:
                    exchanges = load(files.cat_file(path), path)
                except FileNotFoundError:
                    continue
                kept = [one for one in exchanges if normalise(one.prompt) not in prompts]
                if len(kept) < len(exchanges):
                    yield path, kept, len(exchanges) - len(kept)


def local_texts(settings: Settings) -> list[Path]:
    """Return the files of this host of which nobody knows whose words they show.

    Pages of `retune check` and `retune evaluate`, answers of models, and documents' embeddings: all can
    be made again.
    """
    folders = ("checks", "evaluations", "answers", "embeddings")
    found = (path for name in folders for path in (settings.home / name).rglob("*"))
    return sorted(path for path in found if path.is_file())


def _look(file: Any, rows: Rows) -> Found:
    # Weights are one line of many gigabytes.
    if file.read(1) != b"{":
        return Found()
    first = b"{" + file.readline()
    return look(chain((first,), file), rows) if may_have_rows(first) else Found()


def _listed(files: Any, folder: str) -> list[str]:
    files.invalidate_cache(folder)  # agents add files behind this process's back
    try:
        return sorted(str(name) for name in files.ls(folder, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
