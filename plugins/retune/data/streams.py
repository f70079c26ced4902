"""Unpacking of gzip and zstd: the whole text, or an error that says why not."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

from retune.errors import DataError, Problem

BLOCK = 1 << 20
BOMB_RATIO = 200
BOMB_BYTES = 1 << 30
"""More bytes than this that were packed tighter than the ratio are no rows but a bomb."""
_SKIPPABLE = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
_MAGIC = {"gzip": (b"\x1f\x8b",), "zstd": (b"\x28\xb5\x2f\xfd", *_SKIPPABLE)}
_SUFFIX = {"gzip": ".gz", "zstd": ".zst"}
_AGAIN = "write the file again, or fetch it again"


class _Member(Protocol):
    """One gzip member or zstd frame being unpacked."""

    error: type[Exception]

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _GzipMember:
    def __init__(self) -> None:
        self.error: type[Exception] = zlib.error
        self._inflate = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            out = self._inflate.decompress(data, BLOCK)
            if out:
                yield out
            data = self._inflate.unconsumed_tail
            if self._inflate.eof or not (data or len(out) == BLOCK):
                return


class _ZstdFrame:
    # Four bytes can stand for 128 KiB: small bites keep what comes out at once small.
    _BITE = 512

    def __init__(self) -> None:
        import zstandard

        self.error: type[Exception] = zstandard.ZstdError
        self._frame: Any = zstandard.ZstdDecompressor().decompressobj()
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self._BITE):
            if out := self._frame.decompress(data[start : start + self._BITE]):
                yield out
            if self._frame.eof:
                self.unused_data = self._frame.unused_data + data[start + self._BITE :]
                return


def unpack(blocks: Iterator[bytes], compression: str, name: str, bomb: int = BOMB_BYTES) -> Iterator[bytes]:
    """Yield the unpacked bytes in blocks of about 1 MiB.

    Several gzip members or zstd frames in a row are one text; zeros may follow them, as tape and
    block devices pad with them.

    Args:
        blocks: The file's bytes.
        compression: `gzip`, `zstd` or none.
        name: The file, as problems name it.
        bomb: Bytes from which a packing of more than 200 to 1 is refused.

    Raises:
        DataError: The file is cut off, damaged, something else than it says, or a bomb.
    """
    counted = _Counted(blocks)
    pieces = _members(counted, compression, name) if compression else _plain(counted, name)
    gathered: list[bytes] = []
    size = total = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        total += len(piece)
        if total > bomb and total > BOMB_RATIO * counted.size:
            what = f"unpacks {counted.size:,} bytes to more than {total:,}: no rows look like that"
            raise _flaw(name, what, "unpack it yourself, and name the plain file if it is what you mean")
        if size >= BLOCK:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


class _Counted:
    """Blocks, and how many bytes they had so far."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.size += len(block)
            yield block


def _plain(blocks: _Counted, name: str) -> Iterator[bytes]:
    for number, block in enumerate(blocks):
        if number == 0:
            for kind, suffix in _SUFFIX.items():
                if block.startswith(_MAGIC[kind]):
                    raise _flaw(
                        name, f"holds {kind} data, which its name does not say", f"add {suffix} to it"
                    )
        yield block


def _members(blocks: _Counted, compression: str, name: str) -> Iterator[bytes]:
    """Unpack one member after the other; the text may end after a whole one only."""
    member: _Member | None = None
    whole = 0
    for block in blocks:
        while block:
            if member is None:
                block = block.lstrip(b"\0") if whole else block
                if not block:
                    break
                if not any(block.startswith(magic[: len(block)]) for magic in _MAGIC[compression]):
                    raise _other(name, compression, whole, block)
                member = _GzipMember() if compression == "gzip" else _ZstdFrame()
            try:
                yield from member.feed(block)
            except member.error as error:
                raise _flaw(name, f"is damaged: {error}", _AGAIN) from None
            block = member.unused_data
            if member.eof:
                whole, member = whole + 1, None
    if member is not None:
        raise _flaw(name, f"is cut off: its {compression} data ends too early", _AGAIN)
    if not whole:
        raise _flaw(name, f"is empty, not even {compression} data", _AGAIN)


def _other(name: str, compression: str, whole: int, seen: bytes) -> DataError:
    if whole:
        what = f"goes on with something else after its {compression} data: {seen[:8]!r}"
        return _flaw(name, what, f"write the file again with {compression} alone")
    what = f"is no {compression} data, though its name says so: it begins with {seen[:8]!r}"
    return _flaw(name, what, f"pack it with {compression}, or take {_SUFFIX[compression]} off its name")


def _flaw(name: str, what: str, action: str) -> DataError:
    return DataError([Problem(what, action, name)])
