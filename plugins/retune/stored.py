"""What lies in an artifacts' store, seen as files: for those who look through all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from retune.artifacts import GRACE, Artifacts, is_old


@dataclass(frozen=True)
class Blob:
    """One blob, or the rest of a write that was cut off."""

    digest: str
    """Of the blob; of what was being written, where it is a rest."""
    size: int
    path: str
    partial: bool = False


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
    return is_old(artifacts.place(blob.digest)[0], blob.path, GRACE, now)
