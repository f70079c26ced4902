"""Names for what an emulator makes."""

from __future__ import annotations

import hashlib
import secrets
import string

_LETTERS = string.ascii_letters + string.digits


def fresh(prefix: str, length: int = 24) -> str:
    """Return a new random ID."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(length))


def derived(prefix: str, *parts: object, length: int = 24) -> str:
    """Return the ID that belongs to some parts: the same for the same ones, so that a redo makes no twin."""
    number = int.from_bytes(hashlib.sha512("\n".join(map(str, parts)).encode()).digest())
    letters = []
    for _ in range(length):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return prefix + "".join(letters)
