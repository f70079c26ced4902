"""Ranges, parts and checksums of uploads."""

from __future__ import annotations

import pytest

from retune.testing.emulators.gcs_objects import crc32c, describe
from retune.testing.emulators.gcs_uploads import content_range, related
from retune.testing.emulators.server import Refused
from retune.testing.emulators.vertex_contract import storage_contract


def test_an_object_keeps_the_contract_and_its_checksums_are_the_known_ones() -> None:
    # The check value of CRC-32C is e3069283.
    assert crc32c(b"123456789") == "4waSgw=="
    found = describe("rows", "a/b.jsonl", b"123456789", 1.5)
    assert storage_contract().flaws("Object", found) == []
    assert (found["size"], found["md5Hash"], found["generation"]) == (
        "9",
        "JfnnlDI7RTiF9RgfG2JNCw==",
        "1500000",
    )


@pytest.mark.parametrize(
    ("header", "sent", "meant"),
    [
        ("", 5, (0, 5)),
        ("bytes 0-4/10", 5, (0, 10)),
        ("bytes 5-9/*", 5, (5, None)),
        ("bytes */10", 0, (None, 10)),
        ("bytes */*", 0, (None, None)),
        ("octets 1", 0, (None, None)),
    ],
)
def test_a_range_says_where_bytes_go(header: str, sent: int, meant: tuple[int | None, int | None]) -> None:
    assert content_range(header, sent) == meant


def test_an_upload_with_metadata_is_taken_apart() -> None:
    data = b"one\r\n\r\n--two\r\n"
    head = b'--cut\r\ncontent-type: application/json\r\n\r\n{"name": "n"}\r\n'
    body = head + b"--cut\r\nContent-Type: text/plain\r\n\r\n" + data + b"\r\n--cut--"
    given, found = related('multipart/related; boundary="cut"', body)
    assert (given, found) == ({"name": "n", "contentType": "text/plain"}, data)
    for broken in (body[:20], b""):
        with pytest.raises(Refused, match="Malformed"):
            related('multipart/related; boundary="cut"', broken)
    with pytest.raises(Refused, match="Malformed"):
        related("text/plain", body)
