from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from retune.data.streams import BLOCK, unpack
from retune.errors import DataError

TEXT = b"".join(b'{"text": "row %d", "queue": "shipping"}\n' % number for number in range(3_000))

RANDOM = random.Random(7).randbytes(5_000_000).hex().encode()


def pack(data: bytes, compression: str) -> bytes:
    return gzip.compress(data, 1) if compression == "gzip" else zstandard.compress(data)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def unpacked(data: bytes, compression: str, size: int = BLOCK, **limits: int) -> bytes:
    return b"".join(unpack(pieces(data, size), compression, "a.jsonl.gz", **limits))


def flaw(data: bytes, compression: str, **limits: int) -> str:
    with pytest.raises(DataError) as caught:
        unpacked(data, compression, **limits)
    (found,) = caught.value.problems
    assert found.file == "a.jsonl.gz" and found.action
    return str(found)


BOTH = pytest.mark.parametrize("compression", ["gzip", "zstd"])


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    st.sampled_from(["gzip", "zstd"]),
    st.integers(1, 50),
)
def test_members_in_a_row_are_one_text(parts: list[bytes], compression: str, size: int) -> None:
    packed = b"".join(pack(part, compression) for part in parts)
    assert unpacked(packed, compression, size) == b"".join(parts)
    assert unpacked(packed + bytes(2 * size), compression, size) == b"".join(parts)


@given(st.sampled_from(["gzip", "zstd"]), st.floats(0, 1, exclude_max=True), st.booleans())
def test_a_cut_file_is_an_error_and_never_fewer_rows(compression: str, share: float, checked: bool) -> None:
    packed = PACKED[compression, checked]
    said = flaw(packed[: int(len(packed) * share)], compression)
    assert "is cut off" in said or "is empty" in said


PACKED = {
    ("gzip", False): gzip.compress(TEXT, 1),
    ("gzip", True): gzip.compress(TEXT),
    ("zstd", False): zstandard.ZstdCompressor(write_checksum=False, write_content_size=False).compress(TEXT),
    ("zstd", True): zstandard.ZstdCompressor(write_checksum=True).compress(TEXT),
}


@given(st.sampled_from(["gzip", "zstd"]), st.data())
def test_a_second_member_that_is_cut_is_an_error(compression: str, data: st.DataObject) -> None:
    packed = pack(TEXT, compression)
    cut = data.draw(st.integers(1, len(packed) - 1))
    assert "is cut off" in flaw(packed + packed[:cut], compression)


@given(st.sampled_from(["gzip", "zstd"]), st.binary(min_size=1, max_size=100), st.integers(1, 9))
def test_what_stands_after_the_data_is_an_error(compression: str, garbage: bytes, zeros: int) -> None:
    for rest in (garbage.lstrip(b"\0") or b"x", bytes(zeros) + b"x"):
        assert any(
            words in flaw(pack(TEXT, compression) + rest, compression)
            for words in ("something else after", "is damaged", "is cut off")
        )


@given(st.data())
def test_a_flipped_byte_is_found_by_the_checksum(data: st.DataObject) -> None:
    for compression in ("gzip", "zstd"):
        packed = bytearray(PACKED[compression, True])
        # The header's name, time and flags are not part of a gzip's checksum.
        packed[data.draw(st.integers(10, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            assert unpacked(bytes(packed), compression) == TEXT
        except DataError as error:
            assert len(error.problems) == 1


@BOTH
def test_other_data_under_the_name_is_said(compression: str) -> None:
    other = {"gzip": "zstd", "zstd": "gzip"}[compression]
    for data in (TEXT, pack(TEXT, other)):
        assert f"is no {compression} data, though its name says so" in flaw(data, compression)
    assert f"holds {compression} data, which its name does not say" in flaw(pack(TEXT, compression), "")
    assert f"is empty, not even {compression} data" in flaw(b"", compression)
    assert unpacked(TEXT, "") == TEXT and unpacked(b"", "") == b""


def test_skippable_frames_are_skipped_and_long_windows_refused() -> None:
    assert unpacked(b"\x52\x2a\x4d\x18\x03\0\0\0abc" + pack(TEXT, "zstd"), "zstd") == TEXT
    far = zstandard.ZstdCompressionParameters(window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=far).compressobj()
    assert "is damaged" in flaw(compressor.compress(TEXT) + compressor.flush(), "zstd")


@BOTH
def test_a_bomb_is_refused_before_it_fills_the_memory(compression: str) -> None:
    zeros = bytes(64 << 20)
    packed = zstandard.compress(zeros) if compression == "zstd" else zlib.compress(zeros, 9, wbits=31)
    tracemalloc.start()
    said = flaw(packed, compression, bomb=8 << 20)
    assert tracemalloc.get_traced_memory()[1] < 48 << 20
    tracemalloc.stop()
    assert "no rows look like that" in said
    # The same text is fine below the limit of bytes, however tightly packed.
    assert len(unpacked(packed, compression, bomb=len(zeros))) == len(zeros)


@BOTH
def test_blocks_are_about_a_mebibyte(compression: str) -> None:
    sizes = [len(block) for block in unpack(iter([pack(RANDOM, compression)]), compression, "a")]
    assert sum(sizes) == len(RANDOM) and min(sizes[:-1]) >= BLOCK and max(sizes) < 2 * BLOCK
