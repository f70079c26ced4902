"""Personal data and secrets in text: found by their form and replaced by placeholders.

    >>> redact(["Mail ann@example.org", "Done: ANN@example.org, not bob@example.org"])[0]
    ['Mail <EMAIL_1>', 'Done: <EMAIL_1>, not <EMAIL_2>']

Names of people and what a text says about them are not found: that takes a model, this takes forms
and check digits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from retune.text.privacy.credentials import find_credentials
from retune.text.privacy.digits import by_digits
from retune.text.privacy.found import PLACEHOLDER, SEPARATOR, Found
from retune.text.privacy.network import mailboxes, v6

KINDS: Mapping[str, str] = {
    "EMAIL": "E-mail addresses.",
    "PHONE": "Telephone numbers: international (+49 ..., 0049 ...) and national forms; "
    "bare digits only beside a word such as `call` or `Tel.`.",
    "IBAN": "Bank accounts: an IBAN of its country's length with valid check digits.",
    "CARD": "Payment cards: 13 to 19 digits, an issuer's prefix, a valid Luhn digit.",
    "NATIONAL_ID": "Identity, tax and social security numbers of 29 countries, by shape and check digits; "
    "where those are weak, only beside a word that names them.",
    "IP": "IPv4 and IPv6 addresses, except the machine's own (127.0.0.1, ::1) and version numbers.",
    "ADDRESS": "Postal addresses: house number and street, with postcode and town where they follow.",
    "SECRET": "API keys, tokens, private keys, and passwords that are written as such (`password: ...`).",
}
# What a replacement uncovers is found in the next round; in text that people write there is nothing.
_ROUNDS = 6
# All but credentials have one of these.
_SIGNS = re.compile("[0-9@]|:[0-9A-Fa-f]{0,4}:")


def redact(texts: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """Replace the personal data in the texts of one conversation.

    Equal values, whatever their spaces, dashes or case, get the same placeholder in all texts.
    Placeholders that are already there stay, and their numbers are not given again. Redacting what
    was redacted changes nothing.

    Args:
        texts: The texts of one conversation, in order.

    Returns:
        The new texts, and for each kind of `KINDS` how often it was found.
    """
    joined = SEPARATOR.join(texts)
    if joined.count(SEPARATOR) != len(texts) - 1:  # also where there are no texts
        return _one_by_one(texts)
    found = _find(joined, {})
    if not found:
        return list(texts), Counter()
    names = _Names(joined)
    return names.replace(joined, found).split(SEPARATOR), names.counts


def _one_by_one(texts: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """Redact texts that hold the separator: no word in one text speaks for a number in the next."""
    names = _Names("".join(texts))
    return [names.replace(text, _find(text, names.known)) for text in texts], names.counts


class _Names:
    """The placeholders of one conversation."""

    def __init__(self, text: str) -> None:
        self.counts: Counter[str] = Counter()
        self.known: dict[str, Found] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, int]] = set()
        if "<" in text:
            self._taken = {(match["kind"], int(match["number"])) for match in PLACEHOLDER.finditer(text)}
        self._last: dict[str, int] = {}

    def replace(self, text: str, found: list[Found]) -> str:
        """Replace the findings and what their replacement uncovers."""
        for _ in range(_ROUNDS):
            if not found:
                break
            parts: list[str] = []
            done = 0
            for one in found:
                parts += (text[done : one.start], self._name(one))
                done = one.end
            parts.append(text[done:])
            text = "".join(parts)
            signs = _SIGNS.search("".join(parts[::2]))
            found = _apart(find_credentials(text)) if signs is None else _find(text, self.known)
        return text

    def _name(self, one: Found) -> str:
        self.counts[one.kind] += 1
        key = (one.kind, one.value)
        if key not in self._names:
            number = self._last.get(one.kind, 0) + 1
            while (one.kind, number) in self._taken:
                number += 1
            self._last[one.kind] = number
            self._names[key] = f"<{one.kind}_{number}>"
            if one.value.isdigit():
                self.known[one.value] = one
        return self._names[key]


def _find(text: str, known: Mapping[str, Found]) -> list[Found]:
    """Return the findings in order; where two overlap, the one whose form says more."""
    found = find_credentials(text)
    if "@" in text:
        found += mailboxes(text)
    found += v6(text)
    found += by_digits(text, known)
    return _apart(found) if len(found) > 1 else found


def _apart(found: list[Found]) -> list[Found]:
    ranks = {id(one): rank for rank, one in enumerate(found)}
    apart: list[Found] = []
    for one in sorted(found):
        if not apart or one.start >= apart[-1].end:
            apart.append(one)
        elif ranks[id(one)] < ranks[id(apart[-1])]:
            apart[-1] = one
    return apart
