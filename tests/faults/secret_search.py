"""Looks for secrets in every file below a folder, and in every cell of every SQLite database there."""

from __future__ import annotations

import re
import sqlite3
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

_SQLITE = b"SQLite format 3\x00"
_GOOGLE_TOKEN = re.compile(rb"ya29\.[\w-]{20,}")


def forms(secret: str) -> set[bytes]:
    """Return how a secret may stand in a file: as it is, percent-encoded, in hex, in base64 of any text."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), raw.hex().encode()}
    for offset in range(3):
        # Of base64 only those letters that no neighbour changes.
        kept = slice(-(-8 * offset // 6), 8 * (offset + len(raw)) // 6)
        found |= {encode(b"\0" * offset + raw)[kept] for encode in (b64encode, urlsafe_b64encode)}
    return found


def hits(folder: Path, secrets: Mapping[str, str]) -> list[str]:
    """Return where a secret stands, as `secret in place`; a token that Google's emulator gave is one too.

    Args:
        folder: Searched as a whole.
        secrets: Name -> secret.
    """
    wanted = [(name, form) for name, secret in secrets.items() for form in forms(secret)]
    found = set()
    for place, data in _contents(folder):
        found |= {f"{name} in {place}" for name, form in wanted if form in data}
        if _GOOGLE_TOKEN.search(data):
            found.add(f"a Google token in {place}")
    return sorted(found)


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        name = str(path.relative_to(folder))
        yield name, data
        if data.startswith(_SQLITE):
            yield from ((f"{name}: {place}", cell) for place, cell in cells(path))


def cells(database: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each table's name with all its cells: a page's bytes may part a text, a cell does not."""
    with closing(sqlite3.connect(database)) as db:
        db.text_factory = bytes
        tables = [
            name.decode() for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            rows = db.execute(f'SELECT * FROM "{table}"')
            yield (
                table,
                b"\n".join(
                    cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row
                ),
            )
