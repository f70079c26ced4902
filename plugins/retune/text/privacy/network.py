"""Mailboxes and network addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from retune.text.privacy.found import Found

_AT = re.compile(r"@(?<=[\w.%+\-]@)[^\W_]")
# Bounded by what RFC 5321 allows, so that a long run is not walked again from each of its letters.
_LOCAL = re.compile(r"[\w.%+\-']{1,64}\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[a-z0-9-]{2,40})(?![\w-])")
_FILES = frozenset("png jpg jpeg gif svg webp css js ts py json html tgz zip".split())
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}(?!\w|\.[0-9]|-[A-Za-z])")
# The machine itself, "any" and masks: everyone has these.
_EVERYONES = ("127.", "255.", "0.0.0.0")
_V6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]{2,39}(?![\w:])")
# What every one of them holds; a time of day does as well.
_V6_HINT = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]")
_VERSION = re.compile(
    r"(?i:\b(?:version|ver|release|firmware|build|driver|update|v|section|chapter)\b[.:]? ?"
    r"|\b(?:upgraded?|updated?|bump(?:ed)?|patch(?:ed)?) [^\n.!?]{1,20}? ?|(?:[=~>]=|\bV8:?) ?'?)\Z"
)


def mailboxes(text: str) -> Iterator[Found]:
    """Find the e-mail addresses."""
    done = 0
    for at in _AT.finditer(text):
        place = at.start()
        local = _LOCAL.search(text, max(done, place - 64), place)
        domain = _DOMAIN.match(text, place + 1)
        if local is None or domain is None or domain[1].lower() in _FILES:
            continue
        start = local.start() + len(local[0]) - len(local[0].lstrip(".-'"))
        if start < place and text[place - 1] != ".":
            done = domain.end()
            yield Found(start, done, "EMAIL", text[start:done].lower())


def v4(text: str, start: int) -> Found | None:
    """Return the IPv4 address that begins at `start`, if one does and no word calls it a version."""
    match = _V4.match(text, start)
    # Four small numbers are a version or a section; as addresses they belong to public servers.
    if match is None or len(match[0]) == 7 or match[0].startswith(_EVERYONES):
        return None
    if _VERSION.search(text, max(0, start - 32), start):
        return None
    return Found(start, match.end(), "IP", match[0])


def v6(text: str) -> Iterator[Found]:
    """Find the IPv6 addresses.

    `a::b` is an operator in many languages and `1::2` a slice, so the first group has to have three
    digits or more, or none may be left out.
    """
    if text.count(":") < 2 or _V6_HINT.search(text) is None:
        return
    for match in _V6.finditer(text):
        long = match[0].index(":") >= 3 or "::" not in match[0]
        if not long:
            continue
        try:
            address = ipaddress.IPv6Address(match[0])
        except ValueError:
            continue
        if not (address.is_loopback or address.is_unspecified):
            yield Found(match.start(), match.end(), "IP", address.compressed)
