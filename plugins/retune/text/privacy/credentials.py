"""Keys, tokens and passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator

from retune.text.privacy.found import Found

_KNOWN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"sk-(?=[\w-]*[0-9])[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic and those who follow them
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{20,}|pypi-[A-Za-z0-9_-]{20,}"
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9]{16,}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?)"
)
_BEARER = re.compile(r"(?i:\bbearer)[ \t]+[\"'`*<(\[„]{0,2}(?=[^\s]*[0-9])([A-Za-z0-9._~+/-]{16,}={0,2})")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:"
    r"(?:[^\0-]|-(?!----)){0,20000}+-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:\s{1,4}[A-Za-z0-9+/=]{20,100}){0,400})"  # cut off before its end
)
_IN_A_URL = re.compile(r"://[^\s/:@<>\0]{1,64}:([^\s/@<>\0]{1,128})(?=@)")
# What a name of a secret holds, lower case, and what has to stand before it.
_HINTS = {
    "pass": r"(?<![^\W_])",
    "pwd": "",
    "secret": "",
    "token": "",
    "key": r"(?:api|access|secret|private|auth|encryption|service|account|signing)[ _-]?",
    "kennwort": "",
    "contraseña": "",
    "senha": r"(?<![^\W_])",
    "hasło": "",
}
_HEADS = {hint: re.compile(head + hint, re.I) for hint, head in _HINTS.items() if head}
_ASSIGNED = re.compile(
    r"(?i:(?:word|wd|phrase|wort|code|e)?(?:[ _-]?access)?(?:[ _-]?key)?s?[\"'`*]{0,3}\s{0,3}"
    r"(?P<sign>:=|=>|[:=](?![:=])|\b(?:is|ist|es|est|lautet)\b:?)\s{0,3})"
    r"(?P<open>[\"'`*„<\[(]{0,3}+)(?![A-Z_]{2,11}_[0-9]{1,9}>)(?P<value>[^\s\"'`<>“,;\0]{3,200})"
)
# Where a password should be and is not: a variable, a mask, a path, a name such as `my_api_key`.
_NO_VALUE = re.compile(
    r"!?[$%{(\[].*|[*x•.…_-]+|.*[(\[].*|(?:os|process|env|self|config)\..*|~?(?:/[\w.-]+){2,}/?"
    r"|(?=[a-z_-]*(?:passw|secret|token|key))[a-z]+(?:[_-][a-z]+)+",
    re.I,
)
_NO_PASSWORDS = frozenset(
    """password passwort passwd pass token secret string jwt none null true false undefined required optional
    incorrect correct invalid wrong missing expired forgotten reset hidden text empty changed unknown bytes
    int any yes not""".split()
)
_ENDS_THERE = re.compile(r"[\"'`*.,;!?)]{0,3}[ \t]*(?:[\n\r\0]|\Z)")
_LONG = b"a" * 16
_TOKEN_SHAPE = bytes(
    97 if chr(i).isascii() and (chr(i).isalnum() or chr(i) in "_-") else 32 for i in range(256)
)


def find_credentials(text: str) -> list[Found]:
    """Find keys, tokens and passwords."""
    found: list[Found] = []
    if _LONG in text.encode("utf-8", "surrogatepass").translate(_TOKEN_SHAPE):
        for pattern in (_KNOWN, _BEARER):
            found += [_found(match, pattern.groups) for match in pattern.finditer(text)]
    if "-----BEGIN" in text:
        found += [_found(match, 0) for match in _PRIVATE_KEY.finditer(text)]
    if "://" in text and "@" in text:
        urls = _IN_A_URL.finditer(text)
        found += [_found(match, 1) for match in urls if _is_password(match[1], "=", True)]
    lower = text.lower()
    if hints := [*filter(lower.__contains__, _HINTS)]:
        found += _assigned(text, lower, hints)
    return found


def _assigned(text: str, lower: str, hints: list[str]) -> Iterator[Found]:
    if len(lower) != len(text):  # a few letters grow when they are lowered; places would not agree
        lower = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    for hint in hints:
        place = lower.find(hint)
        while place >= 0:
            after = place + len(hint)
            head, match = _HEADS.get(hint), _ASSIGNED.match(text, after)
            if match is not None and (head is None or head.search(text, max(0, place - 12), after)):
                if not (lower.startswith("tokens", place) and match["value"][0].isdigit()):  # a count
                    yield from _password(text, match)
            place = lower.find(hint, after)


def _password(text: str, match: re.Match[str]) -> Iterator[Found]:
    value = match["value"].rstrip(".!?)]}*:")
    end = match.start("value") + len(value)
    sign = ":" if match["open"][-1:] in ("<", "[", "(") else match["sign"]
    if sign == "=" and not match["open"] and text[match.start("sign") - 1] == " ":
        sign = "is"  # in code it is a variable: `token = following`
    if _is_password(value, sign, _ENDS_THERE.match(text, end) is not None):
        yield Found(match.start("value"), end, "SECRET", value)


def _is_password(value: str, sign: str, ends_there: bool) -> bool:
    if len(value) < 3 or _NO_VALUE.fullmatch(value) or value.lower() in _NO_PASSWORDS:
        return False
    mixed = any(map(str.isdigit, value)) or any(c in "!@#$%^&*+~" for c in value)
    if sign in ("=", ":=", "=>"):
        return True
    if sign == ":":
        return mixed or ends_there
    return mixed and len(value) >= 5


def _found(match: re.Match[str], group: int) -> Found:
    return Found(match.start(group), match.end(group), "SECRET", match[group])
