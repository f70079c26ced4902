"""Made-up personal data in natural sentences, to measure what a search for it finds.

No value belongs to anyone: all are drawn at random, with check digits that are right.
"""

from __future__ import annotations

import functools
import importlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retune.testing.personal_sentences import (
    ADDRESSES,
    LOOK_ALIKES,
    NATIONAL,
    SENTENCES,
    WRAPPINGS,
)

Draw = Callable[[random.Random], str]


@dataclass(frozen=True)
class Planted:
    """A piece of personal data where someone wrote it.

    Attributes:
        text: The message.
        kind: What it is: EMAIL, PHONE, IBAN, CARD, NATIONAL_ID, IP, SECRET or ADDRESS.
        value: The piece as it stands in the text.
    """

    text: str
    kind: str
    value: str


def plant(seed: int, count: int) -> Iterator[Planted]:
    """Yield made-up messages, each with one piece of personal data, all kinds in turn.

    Args:
        seed: The same seed gives the same messages.
        count: How many.
    """
    rng = random.Random(seed)
    kinds = list(_DRAWS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        value, sentences = _DRAWS[kind](rng)
        sentence = rng.choice(sentences)
        if rng.random() < 0.3:
            sentence = sentence.replace("{}", rng.choice(WRAPPINGS))
        text = sentence.replace("{}", value)
        if rng.random() < 0.4:
            text = rng.choice(SENTENCES["FILLER"]) + rng.choice((" ", "\n", "\n\n", "  ")) + text
        if rng.random() < 0.4:
            text += rng.choice((" ", "\n")) + rng.choice(SENTENCES["FILLER"])
        yield Planted(text, kind, value)


def look_alikes(seed: int, count: int) -> Iterator[str]:
    """Yield made-up messages with numbers that are nobody's: orders, parcels, dates, amounts, versions.

    A few have by chance the form and the check digits of a card or an identity number.

    Args:
        seed: The same seed gives the same messages.
        count: How many.
    """
    rng = random.Random(seed)
    for _ in range(count):
        shape, sentence = rng.choice(LOOK_ALIKES), rng.choice(SENTENCES["LOOK_ALIKE"])
        yield sentence.replace("{}", _filled(rng, shape))


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))


def _filled(rng: random.Random, shape: str) -> str:
    """Fill a shape: `#` any digit, `%` a digit that is not 0, `@` a capital, `~` a letter or digit."""
    fill = {
        "#": "0123456789",
        "%": "123456789",
        "@": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "~": "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789",
    }
    return "".join(rng.choice(fill[sign]) if sign in fill else sign for sign in shape)


def _grouped(number: str, sizes: Sequence[int], gap: str) -> str:
    parts, rest = [], number
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    return gap.join(part for part in [*parts, rest] if part)


def _email(rng: random.Random) -> str:
    first = rng.choice("anna joão li sofia mehmet lukas chloé olga ravi bob o'neil x".split())
    last = rng.choice("schmidt silva wang rossi yilmaz garcia dupont nowak kumar smith".split())
    local = rng.choice(("{f}.{l}", "{f}{n}", "{f}_{l}", "{f}+shop", "{l}", "{f}-{l}{n}", "{f}.{l}.{n}"))
    host = rng.choice("gmail mail.example web my-shop firma22 uni-köln cs.uni outlook proton".split())
    end = rng.choice("com de org co.uk fr io com.br pl email museum".split())
    address = f"{local.format(f=first, l=last, n=rng.randrange(1, 2000))}@{host}.{end}"
    return rng.choice((address, address, address.upper(), address.title()))


def _phone(rng: random.Random) -> tuple[str, Sequence[str]]:
    shape, bare = rng.choice(_PHONES)
    return _filled(rng, shape), SENTENCES["PHONE_NAMED" if bare else "PHONE"]


# shape, and whether only a word beside it tells that it is a telephone number
_PHONES = (
    ("+49 30 %#######", False), ("+49 (0)171 %######", False), ("+4917%########", False),
    ("0049 89 %######", False), ("+44 20 7946 0###", False), ("+44 (0) 7700 900###", False),
    ("+1 (415) 555-0###", False), ("+1-212-555-0###", False), ("+1.650.555.0###", False),
    ("+33 6 %# ## ## ##", False), ("+33.1.4#.##.##.##", False), ("+34 6## ## ## ##", False),
    ("+39 333 %######", False), ("+91 98### #####", False), ("+55 11 9%###-####", False),
    ("+48 5## ### ###", False), ("+31 6 %#######", False), ("+41 79 %## ## ##", False),
    ("+61 4## ### ###", False), ("+81 90-%###-####", False), ("(030) %#####", False),
    ("(089) %### ####", False), ("(415) 555-####", False), ("(212)555-####", False),
    ("555-%##-####", False), ("415.555.####", False), ("1-800-555-####", False), ("0171 %######", False),
    ("0171/%######", False), ("0176-%#######", False), ("030/%######", False), ("040 - %######", False),
    ("06 %# ## ## ##", False), ("01.4#.##.##.##", False), ("020 7946 0###", False), ("07700 900###", False),
    ("(415) 555-#### ext. ##", False), ("1-800-555-#### x###", False), ("06-%#######", False),
    ("(11) 9%###-####", False), ("(02) 9%## ####", False), ("0171%######", False),
    ("6%# ### ###", True), ("6%# ## ## ##", True), ("415555%###", True), ("98%#######", True),
    ("333 %######", True), ("%## %## ###", True), ("555-%###", True), ("912 %# ###", True),
)  # fmt: skip


def _iban(rng: random.Random) -> str:
    country, shape = rng.choice(
        (
            ("DE", "#" * 18), ("FR", "#" * 10 + "@" * 2 + "#" * 11), ("GB", "@@@@" + "#" * 14), ("NL",
            "@@@@" + "#" * 10),
            ("ES", "#" * 20), ("IT", "@" + "#" * 22), ("PL", "#" * 24), ("AT", "#" * 16), ("CH", "#" * 17),
            ("BE", "#" * 12), ("MT", "@@@@#####" + "@#" * 9), ("NO", "#" * 11), ("SE", "#" * 20), ("PT",
            "#" * 21),
        )
    )  # fmt: skip
    account = _filled(rng, shape)
    number = int("".join(str(int(sign, 36)) for sign in f"{account}{country}00"))
    whole = f"{country}{98 - number % 97:02d}{account}"
    spaced = _grouped(whole, [4] * 8, rng.choice((" ", " ", "-", "\u00a0")))
    return rng.choice((whole, spaced, spaced, spaced.lower(), whole.lower()))


def _card(rng: random.Random) -> str:
    prefix, length, sizes = rng.choice(
        (
            ("4", 16, (4, 4, 4)), ("4", 16, (4, 4, 4)), ("5%", 16, (4, 4, 4)), ("2345", 16, (4, 4, 4)),
            ("34", 15, (4, 6)), ("37", 15, (4, 6)), ("6011", 16, (4, 4, 4)), ("65", 16, (4, 4, 4)),
            ("3530", 16, (4, 4, 4)), ("36", 14, (4, 6)), ("62", 17, (6,)), ("62", 19, (4, 4, 4, 4)),
        )
    )  # fmt: skip
    prefix = prefix.replace("%", rng.choice("12345"))
    body = prefix + _digits(rng, length - 1 - len(prefix))
    whole = next(body + str(last) for last in range(10) if _check("luhn")(body + str(last)))
    return rng.choice((whole, *(_grouped(whole, sizes, gap) for gap in "  -.\u00a0")))


def _national(rng: random.Random) -> tuple[str, Sequence[str]]:
    one = rng.choice(NATIONAL)
    month, day = f"{rng.randrange(1, 13):02d}", f"{rng.randrange(1, 29):02d}"
    while True:
        shape = one.shape.replace("YY", f"{rng.randrange(50, 100)}").replace("MM", month).replace("DD", day)
        number = _filled(rng, shape)
        free = number.count("?")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" if one.letter else "0123456789"
        for last in range(len(alphabet) ** free):
            high, low = divmod(last, len(alphabet))
            whole = number.replace("??", alphabet[high % len(alphabet)] + alphabet[low]).replace(
                "?", alphabet[low]
            )
            if not one.check or _check(one.check)(whole):
                sizes, gap = rng.choice(one.layouts)
                sentences = [*one.sentences, *(() if one.named else SENTENCES["NATIONAL_ID"])]
                return _grouped(whole, sizes, gap) if gap != "as is" else whole, sentences


@functools.cache
def _check(module: str) -> Callable[[str], bool]:
    valid: Callable[[str], bool] = importlib.import_module(f"stdnum.{module}").is_valid
    return valid


def _ip(rng: random.Random) -> str:
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(7)]
    first = rng.choice(("2001", "2a02", "fd12", "fe80"))
    return rng.choice(
        (
            f"{rng.choice((5, 31, 85, 104, 203))}.{_octet(rng)}.{_octet(rng)}.{_octet(rng)}",
            f"192.168.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            f"10.0.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            ":".join([first, *groups]),
            f"{first}:{groups[0]}::{groups[1]}",
            f"{first}::{groups[0]}:{groups[1]}:{groups[2]}".upper(),
        )
    )


def _octet(rng: random.Random) -> int:
    return rng.randrange(1, 255)


def _secret(rng: random.Random) -> tuple[str, Sequence[str]]:
    if rng.random() < 0.35:
        words = "hunter sommer Passw0rd letmein correcthorse Qwertz tiger".split()
        password = rng.choice(words) + rng.choice(("7!", "#2024", "99x", "_4u&", "2$Kq"))
        return password, SENTENCES["PASSWORD"]
    if rng.random() < 0.15:
        lines = "\n".join(_filled(rng, "~" * 64) for _ in range(4))
        name = rng.choice(("RSA PRIVATE", "PRIVATE", "EC PRIVATE", "OPENSSH PRIVATE"))
        return f"-----BEGIN {name} KEY-----\n{lines}\n-----END {name} KEY-----", SENTENCES["SECRET"]
    if rng.random() < 0.15:
        return _filled(rng, "~" * rng.randrange(20, 60)) + "7", SENTENCES["ASSIGNMENT"]
    prefix, length = rng.choice(_SECRETS)
    if prefix == "eyJ":
        return f"eyJ{_filled(rng, '~' * 20)}.eyJ{_filled(rng, '~' * 60)}.{_filled(rng, '~' * 43)}", SENTENCES[
            "SECRET"
        ]
    body = _filled(rng, "~" * (length - 1) + "#")
    return prefix + (body.upper() if prefix == "AKIA" else body), SENTENCES["SECRET"]


_SECRETS = (
    ("sk-", 48), ("sk-proj-", 60), ("sk-ant-api03-", 80), ("ghp_", 36), ("gho_", 36), ("github_pat_", 70),
    ("AKIA", 16), ("AIza", 35), ("xoxb-2345678901-", 24), ("xoxp-", 40), ("glpat-", 20), ("hf_", 34),
    ("npm_", 36), ("sk_live_", 24), ("rk_live_", 24), ("eyJ", 0),
)  # fmt: skip


def _address(rng: random.Random) -> str:
    return _filled(rng, rng.choice(ADDRESSES))


def _in_sentences(kind: str, draw: Draw) -> Callable[[random.Random], tuple[str, Sequence[str]]]:
    return lambda rng: (draw(rng), SENTENCES[kind])


_DRAWS: dict[str, Callable[[random.Random], tuple[str, Sequence[str]]]] = {
    "EMAIL": _in_sentences("EMAIL", _email),
    "PHONE": _phone,
    "IBAN": _in_sentences("IBAN", _iban),
    "CARD": _in_sentences("CARD", _card),
    "NATIONAL_ID": _national,
    "IP": _in_sentences("IP", _ip),
    "SECRET": _secret,
    "ADDRESS": _in_sentences("ADDRESS", _address),
}
