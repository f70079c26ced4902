"""List filters of Google's APIs: the part of https://google.aip.dev/160 that jobs and contexts are listed by.

`state="JOB_STATE_FAILED" AND labels.key=value`, `labels.key:*`, `NOT`, `OR`, parentheses. Which fields of
a tuning job can be filtered by is published nowhere; those of a custom job are taken
(`projects.locations.customJobs.list`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from retune.testing.emulators.vertex_refusals import VertexRefused

Test = Callable[[Mapping[str, Any]], bool]
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[()]|!=|<=|>=|[=<>:,]|[^\s()=<>:!,"]+)')
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
    "<": lambda found, wanted: found < wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">": lambda found, wanted: found > wanted,
    ">=": lambda found, wanted: found >= wanted,
}


def parse_filter(text: str, fields: Mapping[str, str]) -> Test:
    """Make a test of a filter.

    Args:
        text: The filter; empty takes everything.
        fields: Name of a field in filters -> its name in bodies.

    Raises:
        Refused: It cannot be read, or asks for another field.
    """
    if not text.strip():
        return lambda body: True
    parser = _Parser(text, fields)
    test = parser.any_of()
    if parser.tokens:
        raise parser.bad(f"unexpected {parser.tokens[0]!r}")
    return test


def label_equalities(text: str) -> dict[str, str] | None:
    """Return the labels that a filter asks for, where it asks for nothing else; None otherwise."""
    found: dict[str, str] = {}
    for part in re.split(r"\s+AND\s+", text.strip()) if text.strip() else ():
        match = re.fullmatch(r'labels\.([\w-]+)\s*=\s*("?)([\w-]+)\2', part)
        if match is None or match[1] in found:
            return None
        found[match[1]] = match[3]
    return found


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, str]) -> None:
        self._text = text
        self._fields = fields
        self.tokens: list[str] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise self.bad(f"cannot read {text[place:].strip()!r}")
            self.tokens.append(match[1])
            place = match.end()

    def bad(self, why: str) -> VertexRefused:
        return VertexRefused(400, f'Invalid filter "{self._text}": {why}.')

    def any_of(self) -> Test:
        tests = [self._all_of()]
        while self._take("OR"):
            tests.append(self._all_of())
        return lambda body: any(test(body) for test in tests)

    def _all_of(self) -> Test:
        tests = [self._one()]
        while self._take("AND"):
            tests.append(self._one())
        return lambda body: all(test(body) for test in tests)

    def _one(self) -> Test:
        if self._take("NOT"):
            inner = self._one()
            return lambda body: not inner(body)
        if self._take("("):
            inner = self.any_of()
            if not self._take(")"):
                raise self.bad("a parenthesis is not closed")
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        field, operator, value = self._next(), self._next(), _plain(self._next())
        name, _, key = field.partition(".")
        if name not in self._fields or (operator != ":" and operator not in _COMPARE):
            raise self.bad(f"{field} {operator} is not supported")
        of = self._fields[name]
        if operator == ":":
            return lambda body: _has(body.get(of), _plain(key), value)
        compare = _COMPARE[operator]
        if key:
            return lambda body: compare(str((body.get(of) or {}).get(_plain(key), "")), value)
        return lambda body: compare(str(body.get(of, "")), value)

    def _take(self, token: str) -> bool:
        if self.tokens[:1] != [token]:
            return False
        del self.tokens[0]
        return True

    def _next(self) -> str:
        if not self.tokens:
            raise self.bad("it ends too early")
        return self.tokens.pop(0)


def _plain(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _has(found: Any, key: str, value: str) -> bool:
    """Say whether a map has a key (with a value), a list an item, or a text a part with `*`."""
    if isinstance(found, Mapping):
        if not key:
            return value in found
        return key in found and fnmatchcase(str(found[key]), value)
    if isinstance(found, list):
        return value in found
    return fnmatchcase(str(found or ""), value)
