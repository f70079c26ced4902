"""Lines of JSON, read so that every other parser would read them the same."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from retune.data.rows import BadLine

LONGEST = 10 * 1024 * 1024
"""Bytes of a line; a longer one is no row but a broken file."""

_decoder = msgspec.json.Decoder()
_ESCAPE = re.compile(rb"\\[bfru]")


def parse_line(line: bytes, number: int) -> dict[str, Any] | BadLine:
    """Read one line that is not blank.

    Args:
        line: Its bytes, without the line feed.
        number: Its 1-based number, for what is said of it.
    """
    if len(line) > LONGEST:
        size = f"{len(line) / 1e6:.0f} MB long, and at most {LONGEST / 1e6:.0f} are read"
        return BadLine(number, size, "part the file by line feeds: one JSON object a line")
    try:
        value = _decoder.decode(line)
        if type(value) is dict and _every_key_once(line, value):
            return value
    except (ValueError, RecursionError):
        pass
    return _with_care(line, number)


def is_plain(line: bytes) -> bool:
    r"""Say whether a line's texts are sure to be ASCII without control characters but \n and \t."""
    return line.isascii() and b"\x7f" not in line and not _ESCAPE.search(line)


def _every_key_once(line: bytes, value: dict[str, Any]) -> bool:
    """Say whether it is sure that no key stands twice in an object.

    Each key is followed by a colon, and where no white space stands between ends in `":`. Texts may
    hold these characters too, so their count is never below that of the keys, and equal to the
    number of keys that were read only where none was overwritten.
    """
    keys = _keys(value)
    if line.count(b":") == keys:
        return True
    return line.count(b'":') == keys and not (b" :" in line or b"\t:" in line or b"\r:" in line)


def _keys(value: dict[str, Any] | list[Any]) -> int:
    if type(value) is dict:
        count, parts = len(value), value.values()
    else:
        count, parts = 0, value  # type: ignore[assignment]
    for part in parts:
        if type(part) is dict or type(part) is list:
            count += _keys(part)
    return count


def _with_care(line: bytes, number: int) -> dict[str, Any] | BadLine:
    try:
        value = json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return not_utf8(number, error)
    except UnicodeEncodeError as error:
        near = error.object[max(error.start - 30, 0) : error.start + 1]
        return BadLine(number, f"{near!r} ends in half of a surrogate pair", "write the character itself")
    except (ValueError, RecursionError) as error:
        said = "nested too deep" if isinstance(error, RecursionError) else error
        return BadLine(number, f"invalid JSON: {said}", "mend the line: one JSON object a line")
    if not isinstance(value, dict):
        return BadLine(number, f"is a JSON {type(value).__name__}, not an object", "one JSON object a line")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers disagree on which of two equal keys counts, so neither does.
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def not_utf8(number: int, error: UnicodeDecodeError) -> BadLine:
    """Return what is said of bytes that are no UTF-8."""
    return BadLine(number, f"not UTF-8: byte 0x{error.object[error.start]:02x}", "save the file as UTF-8")
