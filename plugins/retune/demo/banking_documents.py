"""What a prompt may read about BANKING77: one short document an intent.

No question of the data stands in them, as it is not known yet which will be held out: only the intents' own
names in words, and for ten of them a sentence of ours.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

SENTENCES = {
    "activate_my_card": "The new card is in the customer's hands and has to be switched on before it pays.",
    "age_limit": "How old somebody must be for an account, and whether children may have one.",
    "atm_support": "Which cash machines take the card, and where money can be drawn with it.",
    "cancel_transfer": "Money went to the wrong account or was sent by mistake, and has to be called back.",
    "card_arrival": "A card was ordered, has not come by post so far, and the customer tracks it.",
    "change_pin": "The customer wants another PIN for the card, and asks where and how to set it.",
    "exchange_rate": "Which rate is used where one currency is changed into another, and who sets it.",
    "lost_or_stolen_card": "The card is gone, mislaid or in a thief's hands; it is blocked and replaced.",
    "top_up_failed": "Money was to be added to the account, and the top up was declined or did not work.",
    "verify_my_identity": "Which papers prove who the customer is, and how that check of identity goes.",
}
"""What ten of the intents are about."""


def intents(source: Path) -> tuple[str, ...]:
    """Return the intents that BANKING77's CSV holds, in order of their names.

    Args:
        source: The training CSV, with a column `category`.
    """
    with source.open(encoding="utf-8", newline="") as file:
        return tuple(sorted({row["category"] for row in csv.DictReader(file)}))


def write_documents(folder: Path, labels: Sequence[str]) -> None:
    """Write a document for each intent.

    Args:
        folder: Where to; it is made.
        labels: The intents.
    """
    folder.mkdir(parents=True)
    for label in labels:
        # `reverted_card_payment?` is no file's name everywhere.
        name = re.sub(r"\W", "", label).lower()
        (folder / f"{name}.md").write_text(document(label), encoding="utf-8")


def document(label: str) -> str:
    """Return what is said about an intent.

    One line: alone on a line, a name such as `top up failed` could be a customer's whole question.
    """
    in_words = re.sub(r"[\W_]+", " ", label).strip().lower()
    return f"Intent {label}, {in_words}. {SENTENCES.get(label, '')}".rstrip() + "\n"
