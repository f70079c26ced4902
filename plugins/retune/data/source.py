"""One file of rows: its bytes, whole and as they were, or an error that says why not."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from retune.addresses import scrub
from retune.data.streams import BLOCK, unpack
from retune.errors import DataError, Problem, RetuneError

State = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """One file of rows. It may go to another process.

    Attributes:
        name: As problems and `Dataset.sources` name it; free of credentials.
        format: `jsonl`, `csv` or `parquet`.
        compression: `gzip`, `zstd` or none.
        local: Where it is a plain local file.
        size: Its bytes as stored, where they are known before it is read.
        opener: Opens the raw bytes.
        scratch: Folder for a copy, where one must lie on disk to be read.
        url: With the credentials; empty for a local file.
    """

    name: str
    format: str
    compression: str
    local: Path | None
    size: int | None
    opener: Callable[[], BinaryIO] = field(repr=False, compare=False)
    scratch: Path = field(repr=False, compare=False)
    url: str = field(default="", repr=False)

    def open(self) -> BinaryIO:
        """Open the raw bytes as they are stored; the file is a context manager.

        Raises:
            DataError: It cannot be opened.
        """
        try:
            return self.opener()
        except Exception as error:
            # A store's library may raise anything.
            raise self._unreadable(error) from None

    def stream(self, on_digest: Callable[[str], None]) -> Iterator[bytes]:
        """Yield the unpacked bytes in blocks of about 1 MiB; Parquet's as they are.

        Args:
            on_digest: Takes `sha256:<hex>` of the raw bytes, once all are read and found whole.

        Raises:
            DataError: It cannot be read, is cut off or damaged, or changed while it was read.
        """
        digests: list[str] = []
        with self.open() as file:
            raw = self._raw(file, digests.append)
            yield from raw if self.format == "parquet" else unpack(raw, self.compression, self.name)
        on_digest(digests[0])

    @contextmanager
    def on_disk(self, on_digest: Callable[[str], None]) -> Iterator[Path]:
        """Have the raw bytes as a local file: the file itself, or a copy that goes away.

        Raises:
            DataError: As of `stream`; also where a local file changed while it was used.
        """
        digests: list[str] = []
        if self.local is not None:
            before = self.state()
            for _ in self.stream(digests.append):
                pass
            yield self.local
            if self.state() != before:
                raise self._changed()
        else:
            with self._copy(digests.append) as path:
                yield path
        on_digest(digests[0])

    @contextmanager
    def _copy(self, on_digest: Callable[[str], None]) -> Iterator[Path]:
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.scratch, prefix=".source-") as file:
            for block in self.stream(on_digest):
                try:
                    file.write(block)
                    file.flush()
                except OSError as error:
                    what = f"cannot be copied to {self.scratch}: {error.strerror}"
                    raise DataError([Problem(what, "free space there", self.name)]) from None
            yield Path(file.name)

    def _raw(self, file: BinaryIO, on_digest: Callable[[str], None]) -> Iterator[bytes]:
        digest = hashlib.sha256()
        before = state_of(os.fstat(file.fileno())) if self.local else None
        size = 0
        while block := self._read(file):
            digest.update(block)
            size += len(block)
            yield block
        if before is not None and state_of(os.fstat(file.fileno())) != before:
            raise self._changed()
        if before is None and self.size is not None and size != self.size:
            what = f"gave {size:,} bytes, and had {self.size:,} when it was found"
            raise DataError([Problem(what, "run again when it is written", self.name)])
        on_digest(f"sha256:{digest.hexdigest()}")

    def _read(self, file: BinaryIO) -> bytes:
        try:
            return file.read(BLOCK)
        except Exception as error:
            raise self._unreadable(error) from None

    def state(self) -> State:
        """Return what tells whether a local file is as it was; raises DataError where it is gone."""
        try:
            return state_of(os.stat(self.local or ""))
        except OSError as error:
            raise self._unreadable(error) from None

    def _changed(self) -> DataError:
        return changed(self.name)

    def _unreadable(self, error: Exception) -> RetuneError:
        if isinstance(error, RetuneError):
            return error
        return DataError([unreadable(self.name, error, self.url)])


def unreadable(name: str, error: Exception, url: str = "") -> Problem:
    """Say why a file cannot be read, without its URL's secrets."""
    if isinstance(error, FileNotFoundError):
        return Problem("is gone since it was found", "put it back, or take it out of data.sources", name)
    if isinstance(error, PermissionError):
        return Problem(
            "may not be read by this user", "give the user that runs Retune leave to read it", name
        )
    said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return Problem(f"cannot be read: {scrub(said, url)}", "check the file, and run again", name)


def changed(name: str) -> DataError:
    """Return the error for a file that is another one than it was."""
    return DataError([Problem("changed while it was read", "run again when it is written", name)])


def state_of(found: os.stat_result) -> State:
    """Return what tells whether a file is as it was."""
    return found.st_ino, found.st_size, found.st_mtime_ns
