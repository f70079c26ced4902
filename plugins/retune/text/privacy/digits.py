"""Everything that is found by its digits: cheap searches for places, then a closer look at the few.

The cheap searches run over the text's shape: one byte a letter, `A` and `a` for letters, `0` for digits and
`-` for all that people put between groups of digits. Most text has no such place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter

from retune.text.privacy.context import topic
from retune.text.privacy.found import Found
from retune.text.privacy.identifiers import identity
from retune.text.privacy.network import v4
from retune.text.privacy.payments import card, iban
from retune.text.privacy.phones import phone
from retune.text.privacy.streets import speaks_of_a_street, street, street_places

_GAPS = " -./()\u00a0"
_RARE_GAPS = "\u2009\u202f\u2010\u2011\u2013"
_SHAPE = bytes(
    ord("0") if chr(code) in "0123456789"
    else ord("A") if chr(code).isupper()
    else ord("a") if chr(code).isalpha() or chr(code) == "_"
    else ord("-") if chr(code) in _GAPS
    else ord(",") if chr(code) == "\n"
    else code
    for code in range(256)
)  # fmt: skip
# At least seven digits from the start of a group on; no group of one digit beside another such.
# Dates are left out by their shape.
_NUMBER = re.compile(
    rb"0(?=(?:-{0,3}0){6})(?<![aA]0)(?!-0(?!0))(?!(?:0?-00?-0000|000-00?-00?)(?![0aA]|-{1,3}0))"
)
# What is worth a closer look where a group of digits begins, all in one pass: letters and digits as in
# an IBAN, a NIE, an Italian tax code or a NINO; a name behind a number, a postcode behind a comma.
_PLACE = re.compile(
    rb"0(?<!00)(?:(?:(?<=[Aa]0)(?:0{6}|(?<=[Aa]{2}0)0|000[Aa]|0[Aa]00)"
    rb"|(?<=[Aa]-0)(?:0{6}-?[Aa]|0-00-00-[Aa]|0[Aa]00))(?P<lettered>)"
    rb"|(?:0{0,4}+(?:[Aa]?-Aa|-0{1,3}aa-A)|(?:(?<=,0)|(?<=[,A]-0))0{2,4}(?:-0{2,3})?(?:-?AA)?[,-]{1,2}[A?])"
    rb"(?P<street>)"
    rb"|(?:0{5}A000[0A]|" + _NUMBER.pattern[1:] + rb")(?P<number>))"
)
_DATE = re.compile(
    r"(?:[0-3]?[0-9][-./ ][0-3]?[0-9][-./ ](?:19|20)[0-9]{2}"
    r"|(?:19|20)[0-9]{2}[-./][01]?[0-9][-./][0-3]?[0-9])(?![0-9])"
)
_DOTS = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_LETTERED_PLACE = re.compile(
    rb"(?<![0a])(?:aa00|a-?0000000|a{3}-?a{3}-?00a|a{4}0{6}|a{5}0000a|aa-00-00-00-a)"
)
# The middle of a longer number in groups of four, as parcels have them.
_IN_FOURS = re.compile(r"(?<=[0-9]{4}[ -])[0-9]{4}[ -][0-9]{4}(?![0-9])")
# A number does not begin within a word, a path, a decimal, or right behind a placeholder.
_WITHIN = re.compile(r"(?:\w|\w[-/]|[0-9][.,>])\Z")
_START = itemgetter(0)
_Look = Callable[[str, int], Found | None]
_RUN = re.compile(rf"[0-9]+(?:[{re.escape(_GAPS + _RARE_GAPS)}]{{1,3}}[0-9]+){{0,6}}")
_LETTER_BEHIND = re.compile(r"[- ]?[A-Za-z](?!\w)|[A-FU-Y][0-9]{3}[0-9A-Y](?!\w)")


def by_digits(text: str, known: Mapping[str, Found]) -> Iterator[Found]:
    """Find card and account numbers, identity and telephone numbers, IPv4 and postal addresses.

    Args:
        text: The text.
        known: Digits that were found elsewhere in the conversation. They are found here even where
            no word stands beside them.
    """
    if not text.isascii():
        for gap in _RARE_GAPS:
            text = text.replace(gap, "\u00a0")
    places = _places(text)
    if not places:
        return
    places.sort(key=_START)
    done = 0
    for start, look in places:
        if start < done:
            continue
        found = None if _WITHIN.search(text, max(0, start - 2), start) else look(text, start)
        if found is None and known:
            found = _again(text, start, known)
        if found is not None and found.start >= done:
            done = found.end
            yield found


def _places(text: str) -> list[tuple[int, _Look]]:
    """Return where a closer look is worth it, and at what."""
    shape = text.encode("latin-1", "replace").translate(_SHAPE)
    places: list[tuple[int, _Look]] = []
    if b"0" not in shape:
        return places
    lettered = streets = False
    for match in _PLACE.finditer(shape):
        kind, start = match.lastgroup, match.start()
        if kind == "number" or _NUMBER.match(shape, start):
            places.append((start, _number))
        lettered = lettered or kind == "lettered"
        streets = streets or kind == "street"
    if lettered:
        places += [(match.start(), _lettered) for match in _LETTERED_PLACE.finditer(shape.lower())]
    if text.count(".") > 2:
        places += [(_run_start(text, match.start()), v4) for match in _DOTS.finditer(text)]
    if streets or speaks_of_a_street(text):
        places += [(start, street) for start in street_places(text)]
    return places


def _run_start(text: str, end: int) -> int:
    start = end
    while start > 0 and end - start < 4 and text[start - 1] in "0123456789":
        start -= 1
    return start


def _number(text: str, start: int) -> Found | None:
    if _DATE.match(text, start) or _IN_FOURS.match(text, start):
        return None
    if text[start - 1 : start] == "+":
        return phone(text, start, "")
    run = _RUN.match(text, start)
    end = run.end() if run else start
    said = "other" if start and text[start - 1] == "#" else topic(text, start, end)
    unbroken = end - start < 9 and text[start:end].isdigit()
    if unbroken and said in ("", "other") and not _LETTER_BEHIND.match(text, end):
        return None  # most order numbers leave here
    return (
        card(text, start, said == "card")
        or identity(text, start, said)
        or v4(text, start)
        or phone(text, start, said)
    )


def _lettered(text: str, start: int) -> Found | None:
    """Look at a number that begins with letters."""
    return iban(text, start) or identity(text, start, topic(text, start, start))


def _again(text: str, start: int, known: Mapping[str, Found]) -> Found | None:
    run = _RUN.match(text, start)
    same = known.get("".join(filter(str.isdigit, run[0]))) if run else None
    return Found(start, run.end(), same.kind, same.value) if run and same else None
