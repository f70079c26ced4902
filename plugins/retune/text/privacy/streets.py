"""Postal addresses, as far as their form gives them away."""

from __future__ import annotations

import re
from collections.abc import Iterator

from retune.text.privacy.found import Found

_CAPITAL = "[A-ZÀ-ÖØ-ÞĄĆĘŁŃŚŹŻČĎĚŇŘŠŤŮŽĞİŞŐŰ]"
_NAME = rf"{_CAPITAL}[\w'’.-]{{0,30}}"
_NUMBER = r"[0-9]{1,5}(?: ?[A-Za-z](?!\w))?(?:[-/][0-9]{1,4}[A-Za-z]?)?"
_BREAK = r"(?:, ?\n?|\n)"
_CITY = (
    rf"{_BREAK}(?:[A-Z]{{1,2}}-)?[0-9]{{2,4}}[ -]?[0-9]{{2,3}}(?: ?[A-Z]{{2}})?(?:,? |,?\n){_NAME}"
    rf"(?:[ -](?:(?:am|an der|ob der|im|de|la) )?{_NAME}){{0,2}}(?: \([A-Z]{{2}}\))?"
)
_CERTAIN = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Terrace|Crescent|Highway|Hwy|Parkway)"
)
# Words that name other things as well: they count only with a town behind them.
_PERHAPS = r"(?:Way|Close|Court|Ct|Place|Pl|Square|Sq|Gardens|Grove|Mews|Row|Hill|Park|Quay|Walk|Broadway)"
_FLAT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor)\.? [0-9A-Z]{1,5}\b|,? #[0-9A-Z]{1,5}\b)"
_CODE = r"(?:[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z]{2}|(?:[A-Z]{2,3} )?[0-9]{4,5}(?:-[0-9]{4})?)"
_PLACE = rf"{_CAPITAL}[a-zß-öø-ÿ'’.-]{{1,30}}"
_STATE_OR_CODE = (  # with it no word for a street is needed: CA 94103, NSW 2000, SW1A 1AA
    r"(?:[A-Z]{2,3},? [0-9]{4,5}(?:-[0-9]{4})?|(?:[A-Z]{2},? )?[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]"
    r"|[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z]{2})\b"
)
_TOWN = rf"(?:{_BREAK}(?:{_CODE}|{_PLACE}(?: {_PLACE}){{0,2}}(?:,? {_CODE})?))"
_STREET = rf"(?:[NSEW]\.? )?(?:[0-9]{{1,3}}(?:st|nd|rd|th) |{_NAME} ){{1,4}}?"
_ENGLISH = (  # 221B Baker St, London NW1 6XE
    rf"{_NUMBER},? {_STREET}(?:{_CERTAIN}\b\.?(?: (?:[NSEW]|[NS][EW])\b)?{_FLAT}?{_TOWN}{{0,2}}"
    rf"|{_PERHAPS}\b\.?{_FLAT}?{_TOWN}{{1,2}}"
    rf"|{_PLACE}{_FLAT}?{_BREAK}{_PLACE}(?: {_PLACE}){{0,2}}(?:,? |\n){_STATE_OR_CODE})"
)
_RUE = (
    r"(?:[Rr]ue|[Aa]venue|[Aa]v\.|[Bb]oulevard|[Bb]d|[Pp]lace|[Cc]hemin|[Aa]llée|[Ii]mpasse|[Qq]uai|[Cc]ours"
    r"|[Rr]oute)"
)
_FRENCH = (  # 12 rue de la Paix, 75002 Paris
    rf"[0-9]{{1,4}}(?: ?(?:bis|ter))?,? {_RUE}"
    rf"(?: (?:de|du|des|la|le|les)\b){{0,3}} (?:[dl]['’])?{_NAME}(?: {_NAME}){{0,3}}(?:{_CITY})?"
)
_NUMBER_FIRST = re.compile(f"{_ENGLISH}|{_FRENCH}")
_NUMBER_LAST = re.compile(  # what stands before the number: Hauptstraße 5
    rf"(?<!\w)(?:(?P<sure>(?:{_NAME} )?[\w-]{{1,30}}(?:[Ss]tra(?:ß|ss)e|[Ss]tr\.|straat|gracht|gatan|vägen)"
    rf"|{_NAME} (?:Straße|Strasse|Str\.))"
    r"|[\w-]{1,30}(?:[Ww]eg|[Pp]latz|[Aa]llee|[Gg]asse|[Rr]ing|[Dd]amm|[Uu]fer|laan|plein|vej|gade|stræde|veien|gata)"
    r"|(?:Via|Viale|Piazza|Corso|Largo|Calle|C/|Avenida|Avda\.|Av\.|Plaza|Paseo|Rua|Praça|ul\.|al\.|Rue|Am|Im"
    r"|An der)"
    rf"(?: (?:d[aeio]s?|del|della|la|las|los)\b){{0,3}} {_NAME}(?: (?:de |la ){{0,2}}{_NAME}){{0,3}}"
    rf"|(?P<any>{_NAME}(?: {_NAME}){{0,3}})),? \Z"
)
# What stands before a number and a comma and is no street.
_NO_STREETS = frozenset(
    """january february march april may june july august september october november december jan feb mar
    apr jun jul aug sep sept oct nov dec figure table chapter page section version order room""".split()
)
_YEARS = re.compile(r"(?:(?:19|20)[0-9]{2}-)?(?:19|20)[0-9]{2},")  # 1991-1997, Thomas Lane
_NO_TOWN = re.compile(r"[,\s]*(?:19|20)[0-9]{2}(?![ -]?[0-9])|(?!.*[a-zß-ÿ]{2})", re.DOTALL)
_HOUSE = re.compile(rf"{_NUMBER}(?P<city>{_CITY})?")
_WORDS = (" rue ", "traße", "trasse", "str.", "Str.")
_PLACE_OF_NUMBER = re.compile(
    r"[0-9](?<![0-9][0-9])(?<!\w[0-9])(?:"
    r"[0-9]{0,4}+(?: ?[A-Za-z]\b|[-/][0-9]{1,4}[A-Za-z]?\b)?+(?: bis| ter)?+,?+[ \n]"
    rf"(?:(?:[NSEW]\.? )?(?:[0-9]{{1,3}}(?:st|nd|rd|th)|{_NAME})(?: {_NAME}){{0,4}}?"
    rf"(?: (?:{_CERTAIN}|{_PERHAPS})\b| {_PLACE}{_FLAT}?{_BREAK}[A-Z])|{_RUE} "
    r"|(?:[A-Z]{1,2}-)?[0-9]{2,4}[ -]?[0-9]{2,3}(?: ?[A-Z]{2})?[, \n]{1,2}"
    rf"{_CAPITAL})"
    r"|(?<=(?:aße|sse|tr\.|aat|cht|tan|gen) [0-9]))"
)


def speaks_of_a_street(text: str) -> bool:
    """Tell whether a word for a street is there that may stand without a town."""
    return any(map(text.__contains__, _WORDS))


def street_places(text: str) -> Iterator[int]:
    """Find the house numbers that are worth a closer look."""
    for match in _PLACE_OF_NUMBER.finditer(text):
        yield match.start()


def street(text: str, start: int) -> Found | None:
    """Return the postal address whose house number begins at `start`, if one does."""
    match = None if _YEARS.match(text, start) else _NUMBER_FIRST.match(text, start)
    if match is not None:
        return _found(text, start, match.end())
    if text[start - 1 : start] != " " or text[start - 2 : start - 1].isdigit():
        return None
    house = _HOUSE.match(text, start)
    before = _NUMBER_LAST.search(text, max(0, start - 60), start)
    if house is None or before is None or not (before["sure"] or house["city"]):
        return None
    if before["any"] and (_last_word(before["any"]) in _NO_STREETS or _NO_TOWN.match(house["city"])):
        return None
    return _found(text, before.start(), house.end())


def _last_word(words: str) -> str:
    return words.rpartition(" ")[2].lower()


def _found(text: str, start: int, end: int) -> Found:
    address = text[start:end].rstrip(" .,\n")
    return Found(start, start + len(address), "ADDRESS", " ".join(address.replace(",", " ").split()).lower())
