"""Chat rows for measuring: a file of any length, with copies and near copies planted in it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

SYLLABLES = (
    "ba ce di fo gu ha ki lo me nu pa re si to vu wa xe yo zi an el in on ur st tr pl gr sh th".split()
)
SYSTEM = "You are the support desk of an electronics shop. Answer in two or three short sentences."
COPIES, NEAR_COPIES, EMPTY, CONTACTS = 0.02, 0.02, 0.002, 0.02


def words(count: int) -> list[str]:
    """Return a made-up vocabulary, the frequent words first."""
    rng = random.Random(1)
    return ["".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3)))) for _ in range(count)]


def rows(count: int, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yield conversations of about 1.37 kB: system, user, assistant."""
    rng = random.Random(seed)
    vocabulary = words(6_000)
    totals = list(accumulate(1 / (rank + 5) for rank in range(len(vocabulary))))
    kept: list[tuple[list[str], list[str]]] = []
    for number in range(count):
        kind = rng.random()
        asked = rng.choices(vocabulary, cum_weights=totals, k=rng.randrange(95, 135))
        said = rng.choices(vocabulary, cum_weights=totals, k=rng.randrange(90, 120))
        if kept and kind < COPIES + NEAR_COPIES:
            asked, said = map(list, rng.choice(kept))
            if kind >= COPIES:
                asked[rng.randrange(len(asked))] = rng.choice(vocabulary)
        else:
            asked[rng.randrange(len(asked))] = f"order {number}"
            if rng.random() < CONTACTS:
                asked.append(f"Write to {asked[0]}{number}@example.org or +49 30 1234{number % 10_000:04}")
        if len(kept) < 5_000:
            kept.append((asked, said))
        answer = "" if rng.random() < EMPTY else _prose(said)
        yield {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": _prose(asked)},
                {"role": "assistant", "content": answer},
            ]
        }


def _prose(said: list[str]) -> str:
    lines = [" ".join(said[start : start + 13]).capitalize() for start in range(0, len(said), 13)]
    return ". ".join(lines[:3]) + ".\n" + ", ".join(lines[3:]) + "."


def write(path: Path, count: int) -> Path:
    """Write a file of rows as most people's scripts do: one json.dumps a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows(count):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path
