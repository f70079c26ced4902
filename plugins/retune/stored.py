"""What lies in an artifacts' store and in a home, seen as files: for those who look through all of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from retune.artifacts import GRACE, Artifacts, is_old

_SCRATCH = ("prepare-*", "forget-*", "ssh-*", ".source-*")
"""What is written directly below a home for as long as a process needs it, and stays if that is killed."""


@dataclass(frozen=True)
class Blob:
    """One blob, or the rest of a write that was cut off."""

    digest: str
    """Of the blob; of what was being written, where it is a rest."""
    size: int
    path: str
    partial: bool = False


@dataclass(frozen=True)
class Scratch:
    """Working files of one process, in a folder or a file of their own."""

    path: Path
    size: int
    at: datetime
    """When something was last written there."""

    def is_left(self, now: datetime) -> bool:
        """Say whether its process must be gone: nothing was written there within the grace period."""
        return now - self.at > GRACE


def blobs(artifacts: Artifacts) -> Iterator[Blob]:
    """Yield all that the store holds, by path; what Retune has not put there is left out."""
    import fsspec

    files, root = fsspec.url_to_fs(artifacts.url)
    files.invalidate_cache()  # other hosts write there too
    try:
        found = files.find(root, detail=True)
    except FileNotFoundError:
        return
    for path in sorted(found):
        name, _, rest = path.rsplit("/", 1)[-1].partition(".")
        if len(name) == 64 and set(name) <= set("0123456789abcdef"):
            if not rest or rest.endswith("partial"):
                yield Blob(f"sha256:{name}", int(found[path]["size"] or 0), path, bool(rest))


def remove(artifacts: Artifacts, blob: Blob) -> bool:
    """Remove a file of the store, and say whether it was there."""
    files, _ = artifacts.place(blob.digest)
    try:
        files.rm_file(blob.path)
    except FileNotFoundError:
        return False
    return True


def is_unused(artifacts: Artifacts, blob: Blob, now: datetime) -> bool:
    """Say whether nobody has written the file within the grace period."""
    files, _ = artifacts.place(blob.digest)
    files.invalidate_cache(blob.path.rsplit("/", 1)[0])  # a listing may be older than the last write
    return is_old(files, blob.path, GRACE, now)


def scratch(home: Path) -> Iterator[Scratch]:
    """Yield the working files directly below a home, by path."""
    for path in sorted(found for pattern in _SCRATCH for found in home.glob(pattern)):
        if not path.is_symlink():
            size, at = measure(path)
            if at is not None:
                yield Scratch(path, size, at)


def remove_local(path: Path) -> None:
    """Remove a file or folder of this host, whether or not it is there; raises OSError where it stays."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if path.exists():
        raise OSError(f"{path} cannot be removed")


def measure(path: Path) -> tuple[int, datetime | None]:
    """Return the bytes in a file or folder, and when it was last written; None where it is gone.

    A folder's own time counts only while it is empty: removing a part of it makes it no younger.
    """
    parts = (
        [path]
        if path.is_file()
        else [Path(folder, name) for folder, _, some in os.walk(path) for name in some]
    )
    found = [stat for part in parts if (stat := _stat(part))] or [stat for stat in (_stat(path),) if stat]
    if not found:
        return 0, None
    size = sum(stat.st_size for stat in found) if parts else 0
    return size, datetime.fromtimestamp(max(stat.st_mtime for stat in found), UTC)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:  # others work there at the same time
        return None
