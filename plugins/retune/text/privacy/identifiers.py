"""National identity numbers: their shapes, their check digits, and which need a word beside them."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from typing import NamedTuple, cast

from retune.text.privacy.found import Found

_END = r"(?!\w|[-./,:]?[0-9]|-\w)"


class _Identifier(NamedTuple):
    """One kind of number.

    Attributes:
        name: Its topic in `context`.
        check: The module of python-stdnum that validates it; empty where the shape is all there is.
        alone: Shapes that count without a word beside them: usual punctuation, or strong checks.
        named: Shapes that count only where the words beside them name this number.
    """

    name: str
    check: str
    alone: str = ""
    named: str = ""


_SSN = r"(?!000|666|9)[0-9]{3}%s(?!00)[0-9]{2}%s(?!0000)[0-9]{4}"
_NINO = r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
_MONTH = r"(?:0[1-9]|1[0-2]|[2-9][0-9])"
_IDENTIFIERS = (
    _Identifier("us_ssn", "", rf"{_SSN % ('-', '-')}|{_SSN % (' ', ' ')}", _SSN % ("", "")),
    _Identifier("it_cf", "it.codicefiscale", r"(?i:[A-Z]{3} ?[A-Z]{3} ?\d\d[A-Z]\d\d ?[A-Z]\d{3} ?[A-Z])"),
    _Identifier("mx_curp", "mx.curp", r"(?i:[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d)"),
    _Identifier("fr_nir", "fr.nir", rf"[1-4] ?\d\d ?{_MONTH} ?\d\d ?\d{{3}} ?\d{{3}} ?\d\d"),
    _Identifier("cn_ric", "cn.ric", r"[1-9]\d{16}[\dXx]"),
    _Identifier("kr_rrn", "kr.rrn", r"\d{6}-\d{7}"),
    _Identifier("ch_ahv", "ch.ssn", r"756\.\d{4}\.\d{4}\.\d\d", r"756\d{10}"),
    _Identifier(
        "be_nn", "be.nn", r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d|\d\d \d\d \d\d \d{3} \d\d", r"\d{6}-?\d{3}-?\d\d"
    ),
    _Identifier("br_cpf", "br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d\d", r"\d{9}[-/]?\d\d"),
    _Identifier("se_pnr", "se.personnummer", r"(?:\d\d)?\d{6}[-+]\d{4}", r"(?:\d\d)?\d{6} ?\d{4}"),
    _Identifier("fi_hetu", "fi.hetu", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]"),
    _Identifier("no_fnr", "no.fodselsnummer", r"\d{6} \d{5}", r"\d{6}-?\d{5}"),
    _Identifier("cz_rc", "cz.rc", r"\d{6}/\d{3,4}"),
    _Identifier("cl_rut", "cl.rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]"),
    _Identifier("es_dni", "es.dni", r"\d{8}[- ]?[A-Z]|\d\d\.\d{3}\.\d{3}[- ]?[A-Z]", r"\d{8}[- ]?[A-Za-z]"),
    _Identifier("es_nie", "es.nie", r"(?i:[XYZ])[- ]?\d{7}[- ]?[A-Za-z]"),
    _Identifier(
        "gb_nino", "", rf"{_NINO} ?\d\d ?\d\d ?\d\d ?[A-D]", rf"(?i:{_NINO} ?\d\d ?\d\d ?\d\d ?[A-D])"
    ),
    _Identifier(
        "in_aadhaar", "in_.aadhaar", r"[2-9]\d{3}(?: \d{4} |-\d{4}-)\d{4}(?![ -]\d{4})", r"[2-9]\d{11}"
    ),
    _Identifier("de_idnr", "de.idnr", r"\d\d \d{3} \d{3} \d{3}", r"\d\d[ /.-]?\d{3}[ /.-]?\d{3}[ /.-]?\d{3}"),
    _Identifier("nl_bsn", "nl.bsn", named=r"\d{9}|\d{4}[. ]\d\d[. ]\d{3}|\d{3}[. -]\d{3}[. -]\d{3}"),
    _Identifier("pl_pesel", "pl.pesel", named=r"\d{11}"),
    _Identifier("gb_nhs", "gb.nhs", named=r"\d{3}[ -]?\d{3}[ -]?\d{4}"),
    _Identifier("dk_cpr", "dk.cpr", named=r"\d{6}[- ]?\d{4}"),
    _Identifier("in_pan", "in_.pan", named=r"(?i:[A-Z]{5}\d{4}[A-Z])"),
    _Identifier("pt_nif", "pt.nif", named=r"\d{3}[ .]?\d{3}[ .]?\d{3}"),
    _Identifier("ca_sin", "ca.sin", named=r"\d{3}[ -]?\d{3}[ -]?\d{3}"),
    _Identifier("au_tfn", "au.tfn", named=r"\d{3}[ -]?\d{3}[ -]?\d{3}"),
    _Identifier("ie_pps", "ie.pps", named=r"\d{7}[A-Wa-w][A-Ia-iWwTtXx]?"),
    _Identifier("at_vnr", "at.vnr", named=r"\d{4}[ -]?\d{6}"),
    _Identifier("za_idnr", "za.idnr", named=r"\d{6} ?\d{4} ?\d{3}"),
    _Identifier("tr_kimlik", "tr.tckimlik", named=r"\d{11}"),
    _Identifier("ro_cnp", "ro.cnp", named=r"\d{13}"),
)
# Numbers that carry this name in one country and another elsewhere.
_ALSO = {"es_dni": ("es_nie",), "pt_nif": ("es_dni", "es_nie"), "us_ssn": ("ca_sin", "fr_nir", "at_vnr")}


def _pattern(shapes: str) -> re.Pattern[str]:
    return re.compile(f"(?:{shapes}){_END}", re.ASCII)


_ALONE = tuple((one, _pattern(one.alone)) for one in _IDENTIFIERS if one.alone)
_NAMED = tuple((one, _pattern(one.named)) for one in _IDENTIFIERS if one.named)
_ANY_ALONE = _pattern("|".join(one.alone for one in _IDENTIFIERS if one.alone))
_TOPICS = {one.name for one in _IDENTIFIERS} | {"identity"}
# Shapes that few other things have, checked strongly: no word can speak against them.
_STRONG = {"it_cf", "mx_curp", "fr_nir", "fi_hetu", "cn_ric"}
# Shapes that other numbers have, checked weakly: a word speaks against them also where they are in groups.
_WEAK = {"de_idnr", "es_dni", "in_aadhaar"}


def identity(text: str, start: int, said: str) -> Found | None:
    """Return the identity number that begins at `start`, if one does.

    Args:
        text: The text.
        start: Where its first letter or digit stands; no part of a longer word.
        said: What the words beside it say (`context.topic`).
    """
    if said in _TOPICS:
        for one, pattern in _NAMED:
            if said in (one.name, "identity") or one.name in _ALSO.get(said, ()):
                match = pattern.match(text, start)
                if match is not None and _valid(one, match[0]):
                    return _found(match)
    if _ANY_ALONE.match(text, start) is None:
        return None
    for one, pattern in _ALONE:
        match = pattern.match(text, start)
        # Unbroken letters and digits are what order numbers look like as well.
        if match is None or (said == "other" and _spoken_against(one.name, match[0])):
            continue
        if _valid(one, match[0]):
            return _found(match)
    return None


def _spoken_against(name: str, number: str) -> bool:
    return name in _WEAK or (name not in _STRONG and number.isalnum())


def _found(match: re.Match[str]) -> Found:
    value = "".join(filter(str.isalnum, match[0])).upper()
    return Found(match.start(), match.end(), "NATIONAL_ID", value)


def _valid(one: _Identifier, number: str) -> bool:
    if not one.check:
        return True
    try:
        return _validator(one.check)(number)
    except Exception:  # stdnum's own slips, such as a KeyError for a county that it does not know
        return False


@functools.cache
def _validator(module: str) -> Callable[[str], bool]:
    return cast("Callable[[str], bool]", importlib.import_module(f"stdnum.{module}").is_valid)
