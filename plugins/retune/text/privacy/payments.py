"""Bank accounts and payment cards."""

from __future__ import annotations

import re

from retune.text.privacy.found import Found

_GAP = " .\u00a0\u2009\u202f-\u2010\u2011\u2013"
_IBAN_HEAD = re.compile(r"[A-Za-z]{2}[0-9]{2}")
_IBAN_BODY = re.compile(rf"(?:[{re.escape(_GAP)}]?[A-Za-z0-9]){{10,30}}")
# ISO 13616: how long an account number of each country is.
_IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in """AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27
    DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23
    IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28
    NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28
    TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30""".split()
}
_VALUES = {letter: str(value) for value, letter in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
_CARD = re.compile(rf"[2-6](?:[{re.escape(_GAP)}]?[0-9]){{12,18}}")
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|4[4-9]\d|5\d\d)\d{12,15}"
    r"|62\d{14,17}|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}",
    re.ASCII,
)


def iban(text: str, start: int) -> Found | None:
    """Return the IBAN whose country code begins at `start`, if one does."""
    head = _IBAN_HEAD.match(text, start)
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper(), 0)
    if head is None or not length:
        return None
    body = _IBAN_BODY.match(text, head.end())
    if body is None:
        return None
    value, end = head[0], head.end()
    for end in range(head.end(), body.end()):
        if text[end].isalnum():
            value += text[end]
            if len(value) == length:
                break
    end += 1
    if len(value) != length or text[end : end + 1].isalnum() or not _is_iban(value):
        return None
    return Found(start, end, "IBAN", value.upper())


def _is_iban(value: str) -> bool:
    rest = (value[4:] + value[:4]).upper()
    return int("".join(map(_VALUES.__getitem__, rest))) % 97 == 1


def card(text: str, start: int, named: bool) -> Found | None:
    """Return the payment card whose number begins at `start`, if one does.

    Args:
        text: The text.
        start: Where its first digit stands.
        named: Whether the words beside it speak of a card.
    """
    match = _CARD.match(text, start)
    if match is None:
        return None
    for end in [start + group.end() for group in re.finditer("[0-9]+", match[0])][::-1]:
        number = text[start:end]
        if not text[end : end + 1].isalnum() and _is_card(number, named):
            return Found(start, end, "CARD", "".join(filter(str.isdigit, number)))
    return None


def _is_card(number: str, named: bool) -> bool:
    groups = re.split(r"[^0-9]", number)
    digits = "".join(groups)
    if _ISSUERS.fullmatch(digits) is None or not _luhn(digits):
        return False
    if len(groups) == 1:
        # Bar codes of goods have 13 digits as well; cards of 13 have not been issued for long.
        return len(digits) > 13 or named
    # Amazon's order numbers have groups of 3, 7 and 7.
    return len(groups[0]) in (4, 6) and all(len(group) >= 3 for group in groups[:-1]) and len(groups) <= 5


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0
