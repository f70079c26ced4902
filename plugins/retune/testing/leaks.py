"""Planted leaks: copies of a text with the small changes by which held-out rows come back."""

from __future__ import annotations

import random
import re

_CONTRACTIONS = {
    "cannot": "can't",
    "do not": "don't",
    "does not": "doesn't",
    "did not": "didn't",
    "is not": "isn't",
    "was not": "wasn't",
    "has not": "hasn't",
    "have not": "haven't",
    "i am": "i'm",
    "i have": "i've",
    "it is": "it's",
    "what is": "what's",
    "i would": "i'd",
}
_SYNONYMS = {
    "how do i": "what is the way to",
    "how can i": "in which way could I",
    "can i": "am I allowed to",
    "can you": "could somebody",
    "why": "for what reason",
    "what": "which",
    "when": "at what time",
    "need": "require",
    "want": "would like",
    "help": "assist",
    "get": "obtain",
    "got": "received",
    "change": "modify",
    "use": "make use of",
    "find": "locate",
    "lost": "mislaid",
    "money": "funds",
    "cash": "banknotes",
    "card": "plastic",
    "account": "profile",
    "payment": "transaction",
    "transfer": "remittance",
    "fee": "surcharge",
    "charged": "billed",
    "declined": "refused",
    "wrong": "incorrect",
    "still": "even now",
    "my": "the",
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Of fewer words, one less leaves another text, not a copy.
_LEAST_WORDS = 4


def edits(text: str, rng: random.Random) -> dict[str, str]:
    """Return copies of a text, kind of edit -> copy; a kind that cannot be applied is left out.

    Kinds: exact, case, punctuation, white_space, typo, word_dropped, word_doubled, words_swapped
    (neighbours), please, hi, contraction (either way). No word is dropped from fewer than four.

    Args:
        text: What is copied.
        rng: Chooses words, letters and places.
    """
    words = text.split()
    if not words:
        return {"exact": text}
    at = rng.randrange(len(words))
    copies = {
        "exact": text,
        "case": rng.choice((text.upper(), text.lower(), text.title(), text.swapcase())),
        "punctuation": _punctuated(text, words, rng),
        "white_space": rng.choice(("  ", "\n", "\t", " \u00a0")).join(["", *words, ""]),
        "typo": _typo(text, rng),
        "word_doubled": " ".join([*words[: at + 1], *words[at:]]),
        "please": rng.choice((f"Please, {text}", f"{text} please", f"{text} Please!")),
        "hi": rng.choice((f"Hi, {text}", f"Hi! {text}", f"hi {text}")),
        "contraction": _contraction(text),
    }
    if len(words) >= _LEAST_WORDS:
        copies["word_dropped"] = " ".join(words[:at] + words[at + 1 :])
    if len(words) > 1:
        first = rng.randrange(len(words) - 1)
        copies["words_swapped"] = " ".join(
            [*words[:first], words[first + 1], words[first], *words[first + 2 :]]
        )
    return {kind: copy for kind, copy in copies.items() if kind == "exact" or copy != text}


def reworded(text: str) -> str:
    """Return the text with every word or phrase replaced for which a synonym is at hand."""
    return _replaced(text, _SYNONYMS)


def _punctuated(text: str, words: list[str], rng: random.Random) -> str:
    """Leave all punctuation out, or add some."""
    bare = re.sub(r"[^\w\s]", "", text)
    if bare != text and rng.random() < 0.5:
        return bare
    at = rng.randrange(len(words))
    return " ".join([*words[:at], words[at] + rng.choice((",", "...", ";", " -")), *words[at + 1 :]]) + "!!"


def _typo(text: str, rng: random.Random) -> str:
    """Leave out, add, replace or swap one letter."""
    places = [index for index, letter in enumerate(text) if letter.isalnum()]
    if not places:
        return text
    at = rng.choice(places)
    before, letter, after = text[:at], text[at], text[at + 1 :]
    return rng.choice(
        (
            before + after,
            before + letter + letter + after,
            before + rng.choice(_LETTERS.replace(letter.lower(), "")) + after,
            before + after[:1] + letter + after[1:],
        )
    )


def _contraction(text: str) -> str:
    contracted = _replaced(text, _CONTRACTIONS)
    return contracted if contracted != text else _replaced(text, {v: k for k, v in _CONTRACTIONS.items()})


def _replaced(text: str, words: dict[str, str]) -> str:
    pattern = r"\b(" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + r")\b"
    return re.sub(pattern, lambda match: words[match[0].lower()], text, flags=re.IGNORECASE)
