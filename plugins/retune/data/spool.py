"""Where examples lie while they are prepared: their text on disk, a table of the rest in memory."""

from __future__ import annotations

import math
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.errors import DataError
from retune.text.conversations import Conversation, read_conversation

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

_BUFFER = 1 << 20
# Each holds a file open.
_MOST_MAPS = 256


def no_room(folder: Path, error: OSError) -> DataError:
    """Return what is said where rows cannot be kept while they are prepared."""
    what = f"cannot keep the rows in {folder.parent} while they are prepared: {error.strerror or error}"
    return DataError(what, "free space there, or set RETUNE_HOME to another disk")


class Segment:
    """One file of a spool, written by one process, one canonical line after the other.

    Args:
        folder: The spool's folder.
        number: Which file of it.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._file = (folder / f"{number}.jsonl").open("wb", buffering=_BUFFER)
        self._end = 0

    def add(self, line: bytes) -> tuple[int, int]:
        """Append a line; return its place and size."""
        self._file.write(line)
        place, self._end = self._end, self._end + len(line)
        return place, len(line)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class Spool:
    """The conversations of a table of examples.

    A million rows would not fit into memory as objects; as lines of mapped files they need none.

    Args:
        folder: Where `Segment`s were written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._arrays = 0

    def lines(self, examples: pl.DataFrame) -> Iterator[bytes]:
        """Yield the canonical line of each example, in the order given."""
        places: Iterable[tuple[int, int, int]] = examples.select("segment", "place", "size").iter_rows()
        for segment, place, size in places:
            yield self._map(segment)[place : place + size]

    def read(self, examples: pl.DataFrame) -> Iterator[Conversation]:
        """Yield the conversation of each example, in the order given."""
        return map(read_conversation, self.lines(examples))

    def prompts(self, examples: pl.DataFrame) -> Iterator[str]:
        """Yield what each example asks, as near-duplicates are compared."""
        return (row.asked for row in self.read(examples))

    def answers(self, examples: pl.DataFrame) -> Iterator[str]:
        """Yield what each example answers; a preference both its answers."""
        return (
            "\n".join([row.completion, *(turn.text for turn in row.rejected)]) for row in self.read(examples)
        )

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of zeros that lies in a file of the folder rather than in memory.

        Raises:
            DataError: The disk has no room for it.
        """
        import numpy as np

        if 0 in shape:
            return np.zeros(shape, dtype)
        self._arrays += 1
        path = self._folder / f"{self._arrays}.array"
        with path.open("w+b") as file:
            try:
                # All of it now: a map that finds no room later kills the process.
                os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
            except OSError as error:
                raise no_room(self._folder, error) from error
            return np.memmap(file, dtype, "r+", shape=shape)

    def close(self) -> None:
        """Let go of the files."""
        for mapped in self._maps.values():
            mapped.close()
        self._maps.clear()

    def _map(self, segment: int) -> mmap.mmap:
        if segment not in self._maps:
            if len(self._maps) >= _MOST_MAPS:
                self._maps.popitem(last=False)[1].close()
            with (self._folder / f"{segment}.jsonl").open("rb") as file:
                self._maps[segment] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[segment]
