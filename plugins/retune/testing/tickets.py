"""Sample support tickets from a seed: the usual ones, and a batch whose vocabulary has moved.

`python -m retune.testing.tickets FOLDER` writes both files of `include/data`.
"""

from __future__ import annotations

import json
import random
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from retune.artifacts import write_atomically
from retune.testing import ticket_phrases as phrases

USUAL_FILE = "support_tickets.jsonl"
MOVED_FILE = "later/support_tickets_new_product.jsonl"
_NAMES = ("anna", "ben", "carla", "dario", "emil", "fatima", "greta", "hugo")
_STRAY = ("Billing", "spam", "n/a", "", "shipping/returns", "todo")
# Shares of the tickets that make them neither trivial nor clean.
_MISLABELLED, _VAGUE, _MIXED = 0.03, 0.04, 0.1
# Share of the moved tickets that speak of the new products in the usual words.
_CARRIED_OVER = 0.2
Ticket = dict[str, Any]


def tickets(count: int, seed: int, moved: bool = False) -> list[Ticket]:
    """Return well-formed tickets: text, queue, customer_id, created_at.

    Args:
        count: How many.
        seed: The same seed gives the same tickets.
        moved: Write about the new product line, in new words.
    """
    rng = random.Random(seed)
    start = datetime(2026, 9 if moved else 1, 1, 8, tzinfo=UTC)
    return [_ticket(rng, start + timedelta(minutes=97 * number), moved) for number in range(count)]


def usual_file() -> bytes:
    """Return `support_tickets.jsonl`: usual tickets with the dirt of real life."""
    rng = random.Random(11)
    rows = tickets(1320, seed=7)
    for row in rng.sample(rows, 18):
        row["text"] = rng.choice(["", "   ", None])
    for row in rng.sample(rows, 16):
        row["queue"] = rng.choice(_STRAY)
    rows += [dict(row) for row in rng.sample(rows, 25)]
    rows += [{**row, "text": f"  {row['text']} "} for row in rng.sample(rows, 10) if row["text"]]
    rows += [{**row, "queue": rng.choice(phrases.QUEUES)} for row in rng.sample(rows, 12)]
    rng.shuffle(rows)
    return _jsonl(rows)


def moved_file() -> bytes:
    """Return the later batch: labelled tickets about a new product line."""
    return _jsonl(tickets(480, seed=23, moved=True))


def _ticket(rng: random.Random, at: datetime, moved: bool) -> Ticket:
    queue = rng.choice(phrases.QUEUES)
    text = _moved_text(rng, queue) if moved else _usual_text(rng, queue)
    if rng.random() < _MISLABELLED:
        queue = rng.choice(phrases.QUEUES)
    customer = f"C-{rng.randrange(1000, 9999)}"
    return {"text": text, "queue": queue, "customer_id": customer, "created_at": at.isoformat()}


def _usual_text(rng: random.Random, queue: str) -> str:
    body = rng.choice(phrases.USUAL[queue])
    chance = rng.random()
    if chance < _VAGUE:
        body = rng.choice(phrases.VAGUE)
    elif chance < _VAGUE + _MIXED:
        # A second matter beside the one that decides the queue.
        body = f"{body} By the way: {rng.choice(phrases.USUAL[rng.choice(phrases.QUEUES)])}"
    return _said(rng, [rng.choice(phrases.GREETINGS), body, rng.choice(phrases.CLOSINGS)])


def _moved_text(rng: random.Random, queue: str) -> str:
    body = rng.choice(phrases.MOVED[queue])
    if rng.random() < _CARRIED_OVER:
        body = rng.choice(phrases.USUAL[queue]).replace("{device}", "{cell}")
    return _said(rng, [body, rng.choice(phrases.MOVED_TAILS)])


def _said(rng: random.Random, parts: list[str]) -> str:
    text = " ".join(part for part in parts if part)
    text = re.sub(r"\[([^\]]*)\]", lambda found: rng.choice(found[1].split("|")), text)
    return re.sub(r"\{(\w+)\}", lambda found: _filler(rng, found[1]), text)


def _filler(rng: random.Random, slot: str) -> str:
    if slot == "email":
        return f"{rng.choice(_NAMES)}.{rng.randrange(100)}@example.com"
    return rng.choice(phrases.SLOTS[slot].split("|"))


def _jsonl(rows: list[Ticket]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main(folder: Path) -> None:
    """Write both files below `folder`."""
    write_atomically(folder / USUAL_FILE, usual_file())
    write_atomically(folder / MOVED_FILE, moved_file())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
