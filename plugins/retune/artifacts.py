"""Artifacts by digest on any fsspec URL, published atomically.

A blob is named by the hash of its bytes. A tree of files is a manifest blob (path -> digest and
size), and the manifest's digest names the tree: the same files are always the same artifact.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from retune.errors import ArtifactError, GoneError
from retune.records import Artifact

TREE = "application/vnd.retune.tree+json"
GRACE = timedelta(days=1)
"""What was written within it is never swept: a run in flight may not have noted it yet."""
_CHUNK = 1 << 20


def digest_of(data: bytes) -> str:
    """Return `sha256:<hex>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of_json(value: Any) -> str:
    """Return the digest of a JSON value in its canonical form (sorted keys, no spaces)."""
    return digest_of(canonical_json(value))


def canonical_json(value: Any) -> bytes:
    """Return the one byte form of a JSON value; NaN is refused (ValueError)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of_file(path: Path) -> str:
    """Return the digest of a file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return a folder's manifest: relative path -> {digest, size}; links are refused.

    Raises:
        ArtifactError: The folder is empty or holds a link.
    """
    manifest: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtifactError(f"{path} is a link", "publish real files only")
        if path.is_file():
            manifest[path.relative_to(folder).as_posix()] = {
                "digest": digest_of_file(path),
                "size": path.stat().st_size,
            }
    if not manifest:
        raise ArtifactError(f"{folder} holds no file", "nothing can be published from it")
    return manifest


def digest_of_tree(folder: Path) -> str:
    """Return the digest that `put_tree` would give the folder, without storing it."""
    return digest_of_json(manifest_of(folder))


class _MissingError(ArtifactError):
    """Nothing lies under the digest."""


@dataclass(frozen=True)
class Replaced:
    """What stands for bytes that are stored no more."""

    by: str | None
    """The digest of what does; None where nothing does."""
    reason: str


class Artifacts:
    """A content-addressed store.

    Args:
        url: Any fsspec URL: `file:///...`, `s3://...`, `gs://...`.
        replaced: Returns what stands for a blob that is not there; by default nothing does.
    """

    def __init__(self, url: str, replaced: Callable[[str], Replaced | None] = lambda _: None) -> None:
        self.url = url.rstrip("/")
        self._replaced = replaced

    def put_bytes(self, data: bytes, media_type: str) -> Artifact:
        """Store bytes; storing the same bytes twice is one artifact."""
        digest = digest_of(data)
        self._publish(digest, iter([data]))
        return self._artifact(digest, len(data), media_type)

    def put_file(self, path: Path, media_type: str) -> Artifact:
        """Store a file's bytes."""
        digest = digest_of_file(path)
        self._publish(digest, _chunks(path))
        return self._artifact(digest, path.stat().st_size, media_type)

    def put_tree(self, folder: Path) -> Artifact:
        """Store a folder; its digest is the hash of its files."""
        manifest = manifest_of(folder)
        for name, entry in manifest.items():
            self._publish(entry["digest"], _chunks(folder / name))
        data = canonical_json(manifest)
        artifact = self.put_bytes(data, TREE)
        size = sum(entry["size"] for entry in manifest.values())
        return artifact.model_copy(update={"size": size})

    def exists(self, digest: str) -> bool:
        """Say whether a blob or a tree's manifest is stored."""
        files, path = self.place(digest)
        return bool(files.exists(path))

    def get_bytes(self, digest: str) -> bytes:
        """Return a blob's verified bytes, or those of what replaced it.

        Raises:
            GoneError: It was removed on purpose.
            ArtifactError: It is missing, or its bytes do not match their name.
        """
        try:
            return self._read(digest)
        except _MissingError:
            known = self._replaced(digest)
            if known is None:
                raise
        if known.by is None:
            raise GoneError(f"artifact {digest} was removed: {known.reason}")
        return self.get_bytes(known.by)

    def _read(self, digest: str) -> bytes:
        files, path = self.place(digest)
        try:
            data: bytes = files.cat_file(path)
        except FileNotFoundError:
            raise _MissingError(
                f"artifact {digest} is not in {self.url}", "restore it, or run its stage again"
            ) from None
        if digest_of(data) != digest:
            raise ArtifactError(
                f"artifact {digest} at {path} is damaged", "delete it and run its stage again"
            )
        return data

    def get_tree(self, digest: str, folder: Path) -> Path:
        """Bring a tree to `folder` (all of it or nothing) and return `folder`.

        A folder that is already there is taken as whole: it only ever appears by a rename.

        Raises:
            ArtifactError: A part is missing or damaged.
        """
        if folder.is_dir():
            return folder
        manifest = self.manifest(digest)
        partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            for name, part in manifest.items():
                target = partial / name
                if not target.resolve().is_relative_to(partial.resolve()):
                    raise ArtifactError(f"artifact {digest} names a file outside itself: {name}")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._read(part))
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # somebody else may have brought it first
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder

    def manifest(self, digest: str) -> dict[str, str]:
        """Return path -> digest of a tree's files; raises ArtifactError where it is none."""
        try:
            manifest = json.loads(self._read(digest))
            return {name: entry["digest"] for name, entry in manifest.items()}
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise ArtifactError(f"artifact {digest} is no tree of files") from error

    def _publish(self, digest: str, chunks: Iterator[bytes]) -> None:
        files, path = self.place(digest)
        # Old bytes are written again, so that a sweep sees that somebody is about to point at them.
        if files.exists(path) and not is_old(files, path, GRACE / 2):
            return
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        try:
            files.makedirs(os.path.dirname(path), exist_ok=True)
            with files.open(partial, "wb") as out:
                for chunk in chunks:
                    out.write(chunk)
            files.mv(partial, path)
        except OSError as error:
            if files.exists(partial):
                files.rm(partial)
            raise ArtifactError(
                f"cannot store {digest} in {self.url}: {error}", "free space or mend the permissions"
            ) from error

    def place(self, digest: str) -> tuple[Any, str]:
        """Return the file system and the path of a blob; raises ArtifactError where it is no digest."""
        import fsspec

        algorithm, _, name = digest.partition(":")
        if algorithm != "sha256" or len(name) != 64 or not name.isalnum():
            raise ArtifactError(f"not a digest: {digest!r}", "expected sha256:<64 hex>")
        files, root = fsspec.url_to_fs(self.url)
        return files, f"{root}/{name[:2]}/{name}"

    def _artifact(self, digest: str, size: int, media_type: str) -> Artifact:
        name = digest.removeprefix("sha256:")
        return Artifact(digest=digest, uri=f"{self.url}/{name[:2]}/{name}", size=size, media_type=media_type)


def is_old(files: Any, path: str, age: timedelta, now: datetime | None = None) -> bool:
    """Say whether a file was written longer ago; False where it is not there or cannot be told."""
    try:
        at: datetime = files.modified(path)
    except (NotImplementedError, FileNotFoundError):
        return False
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (now or datetime.now(UTC)) - at > age


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def write_atomically(path: Path, data: bytes) -> None:
    """Write a local file so that readers see the old bytes or all of the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
