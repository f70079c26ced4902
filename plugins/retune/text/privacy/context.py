"""What the words next to a number say it is.

A run of bare digits with one check digit is right by chance one time in ten, so such numbers count
only beside a word that names them; and a word such as `order` or `invoice` speaks against.
"""

from __future__ import annotations

import re

from retune.text.privacy.found import PLACEHOLDER

_BEFORE, _AFTER = 48, 32
# How many words back an order or invoice still speaks against a number.
_NEAR = 5
_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE_END = re.compile(r"[!?\n\0]|\.\s+(?=[A-ZÀ-Þ])|(?<=\w{5})\.\s+\W{0,3}\Z")
_VERB = re.compile(r"[])\"'`*“”>!.;]{0,3}[ ,]*(?:\(|(?:is|was|ist|war|es|est|era|são|är|er)\b)")
_OWN = frozenset("my mein meine mi mon mio mijn min mitt moj mój minha meu his her our".split())
_NUMBER = frozenset("number no nr nummer numero número numéro numer cell num".split())

# topic -> the words that name it, without digits; in capitals those that are other words otherwise
_TOPICS = {
    "phone": """phone telephone tel telefon telefoon téléphone teléfono telefono telefone puhelin mobile
        mobil móvil handy cell cellphone cellulare celular portable komórka call ring dial sms whatsapp
        signal telegram fax hotline rufnummer telefonnummer handynummer mobilnummer mobilfunknummer
        telefoonnummer mobiltelefon mobilnr telefonnr telefonu zadzwoń llámame appelez chiamami bel
        reach voicemail landline festnetz gsm phonenumber ligue anrufen ruf chiamate llame""",
    "other": """order orders bestellung bestellnummer pedido commande ordine invoice rechnung facture factura
        fattura ticket case reference ref tracking parcel shipment sendung sendungsnummer sku article artikel
        item product produkt serial imei isbn ean upc barcode account konto kontonummer customer kunde
        kundennummer cliente transaction transaktion booking buchung reservation confirmation code model
        version build part receipt quote policy about regarding concerning batch lot job request auftrag
        voucher coupon commit sort routing swift bic zip postcode price total amount size bytes""",
    "card": "card visa mastercard amex credit debit karte kreditkarte tarjeta carte carta",
    "us_ssn": "ssn social",
    "de_idnr": """steuer idnr steuerid steuernummer steueridentifikationsnummer identifikationsnummer idno tin
        steueridnr""",
    "es_dni": "dni NIE",
    "fr_nir": "nir sécu sécurité insee vitale",
    "nl_bsn": "bsn burgerservicenummer sofinummer",
    "pl_pesel": "pesel pesele peselu",
    "br_cpf": "cpf",
    "gb_nhs": "nhs",
    "gb_nino": "nino NI insurance",
    "be_nn": "rijksregisternummer rijksregister niss insz registre",
    "se_pnr": "personnummer pnr",
    "dk_cpr": "cpr",
    "no_fnr": "fødselsnummer fnr fodselsnummer",
    "in_aadhaar": "aadhaar aadhar uidai",
    "in_pan": "PAN",
    "pt_nif": "nif contribuinte",
    "ch_ahv": "ahv avs oasi",
    "ca_sin": "SIN",
    "au_tfn": "tfn",
    "ie_pps": "pps ppsn ppsno",
    "at_vnr": "svnr sozialversicherungsnummer versicherungsnummer svn",
    "za_idnr": "south rsa",
    "tr_kimlik": "kimlik tc tckn",
    "ro_cnp": "cnp",
    "identity": "identity national citizen citizenship tax identification personal passport ausweis",
}
_WORDS = {word: topic for topic, words in _TOPICS.items() for word in words.split()}


def topic(text: str, start: int, end: int) -> str:
    """Return what the nearest telling word says of the number at `start` to `end`.

    Words before count first; words after only in forms such as `... is my BSN` or `... (BSN)`, which
    are stronger than an order before.
    A placeholder hides all beyond it: so replacing a finding never brings a word nearer, and what
    was left alone once is left alone the next time.

    Returns:
        A topic such as `phone`, `other` (an order, an invoice, ...) or `nl_bsn`; empty for none.
    """
    before = text[max(0, start - _BEFORE) : start]
    if ">" in before:
        before = PLACEHOLDER.split(before)[-1]
    words = _WORD.findall(before)
    if start > _BEFORE and words and before[0].isalpha() and text[start - _BEFORE - 1].isalpha():
        del words[0]  # cut in two: the end of `hotel` is no `tel`
    for index in range(len(words) - 1, -1, -1):
        found = _named(words, index)
        if found == "other":
            if index >= len(words) - _near(before):
                return _topic_after(text, end) or found
        elif found:
            return found
    return _topic_after(text, end)


def _near(before: str) -> int:
    return min(_NEAR, len(_WORD.findall(_SENTENCE_END.split(before)[-1])))


def _topic_after(text: str, end: int) -> str:
    after = text[end : end + _AFTER]
    verb = _VERB.match(after)
    if verb is None:
        return ""
    words = _WORD.findall(PLACEHOLDER.split(after[verb.end() :])[0])[:4]
    return next(filter(None, (_named(words, index) for index in range(len(words)))), "")


def _named(words: list[str], index: int) -> str:
    word = words[index].lower()
    if word in _NUMBER and index and words[index - 1].lower() in _OWN:
        return "phone"
    return _WORDS.get(word) or _WORDS.get(words[index], "")
