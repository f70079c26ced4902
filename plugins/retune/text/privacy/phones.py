"""Telephone numbers, international and as people write them at home."""

from __future__ import annotations

import re

from retune.text.privacy.found import Found

_GAP = r"[ \-./()\u00a0\u2009\u202f\u2010\u2011\u2013]"
_RUN = re.compile(rf"[0-9]{{1,15}}(?:{_GAP}{{1,3}}[0-9]{{1,15}}){{0,8}}")
_AREA_IN_PARENTHESES = re.compile(
    r"\((?:[2-9]\d\d\) ?[-.]?\d{3}[-. ]?\d{4}"  # (415) 555-2671
    r"|\d{2,5}\)[ /-]{0,3}\d{3,9}(?:[ -]\d{2,5}){0,3})",  # (030) 123456, (11) 98765-4321
    re.ASCII,
)
_AT_HOME = re.compile(
    r"0[1-9]\d{0,4}(?: ?[/.-] ?| )\d{2,8}(?:[ .-]\d{2,8}){0,4}"  # 0171 1234567, 06 12 34 56 78
    r"|(?:1[-. ])?[2-9]\d\d([-. ])\d{3}\1\d{4}"  # 555-123-4567, 1-800-555-0199
    r"|0(?!123456789)[1-9]\d{8,9}",  # 01711234567
    re.ASCII,
)
_END = re.compile(
    r"(?: ?(?i:x|ext\.?|extension|durchwahl|poste) ?[0-9]{1,6})?(?!\w|[./,:-]?[0-9]|-\w)"  # 555-123-4567 x89
)
_ZIP = re.compile(r"(?<=[A-Z]{2} )0\d{4}-\d{4}(?!\d)", re.ASCII)  # Boston, MA 02110-1301
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d"
)
_FEWEST, _MOST = 7, 15


def phone(text: str, start: int, said: str) -> Found | None:
    """Return the telephone number whose first digit stands at `start`, if one does.

    Args:
        text: The text.
        start: Where its first digit stands; a `+` or `(` before it belongs to the number.
        said: What the words beside it say (`context.topic`).
    """
    before = text[max(0, start - 2) : start]
    if before.endswith(("+", "+ ", "+(")):
        return _international(text, start - 1 - (before[-1] != "+"), start)
    if text.startswith("00", start) and said != "other" and not before[:1].isdigit():
        found = _international(text, start, start)
        if found is not None:
            return found
    opened = start - 1 if before.endswith("(") else start
    for end in _ends(text, start):
        match = _AREA_IN_PARENTHESES.fullmatch(text, opened, end) if opened < start else None
        match = match or _AT_HOME.fullmatch(text, start, end)
        if match is None or not _at_home(match[0], said) or (behind := _END.match(text, end)) is None:
            continue
        return None if said != "phone" and _ZIP.match(text, start) else _found(match.start(), behind)
    return _named(text, opened, start) if said == "phone" else None


def _at_home(number: str, said: str) -> bool:
    digits = sum(map(str.isdigit, number))
    if said == "other" and not number.startswith("("):
        return False
    return (8 if number[0] == "(" else 9) <= digits <= 12 and _DATE.search(number) is None


def _named(text: str, opened: int, start: int) -> Found | None:
    for end in _ends(text, start):
        behind = _END.match(text, end)
        if behind is not None and _FEWEST <= sum(map(str.isdigit, text[start:end])) <= 13:
            if _DATE.match(text, start) is None:
                return _found(opened if ")" in text[start:end] else start, behind)
    return None


def _international(text: str, begin: int, start: int) -> Found | None:
    """Return a number with its country code; of several ends the longest that can be dialled."""
    if begin and (text[begin - 1].isalnum() or text[begin - 1] == "+"):
        return None
    for end in _ends(text, start):
        number = text[start:end].replace("(0)", "")
        digits = "".join(filter(str.isdigit, number)).removeprefix("00" if begin == start else "")
        behind = _END.match(text, end)
        if behind is not None and _FEWEST <= len(digits) <= _MOST and _can_be_dialled(digits):
            return Found(begin, behind.end(), "PHONE", f"+{digits}{_plain(behind[0])}")
    return None


def _ends(text: str, start: int) -> list[int]:
    """Return where the number could end, the longest first: behind each group of digits."""
    run = _RUN.match(text, start)
    groups = re.finditer("[0-9]+", run[0]) if run else ()
    return [start + group.end() for group in groups][::-1]


def _found(begin: int, behind: re.Match[str]) -> Found:
    number = "".join(filter(str.isdigit, behind.string[begin : behind.start()]))
    return Found(begin, behind.end(), "PHONE", number + _plain(behind[0]))


def _plain(extension: str) -> str:
    return "".join(filter(str.isalnum, extension)).lower()


def _can_be_dialled(digits: str) -> bool:
    import phonenumbers

    sizes = (size for size in (1, 2, 3) if int(digits[:size]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    size = next(sizes, 0)
    if not size or digits[0] == "0":
        return False
    # Built by hand: `parse` takes ten times as long. It is asked where a trunk prefix may be in the way.
    plain = phonenumbers.PhoneNumber(country_code=int(digits[:size]), national_number=int(digits[size:]))
    if digits[size] != "0" and phonenumbers.is_possible_number(plain):
        return True
    try:
        return bool(phonenumbers.is_possible_number(phonenumbers.parse(f"+{digits}")))
    except phonenumbers.NumberParseException:
        return False
