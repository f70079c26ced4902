"""How much planted personal data is found, what else is taken for it, and how fast?

    PYTHONPATH=plugins python -m benchmarks.personal_data [--rows 40000]

Recall is over `retune.testing.personal_data`, one piece a text; false alarms over BANKING77 (needs
`../shared/data/banking77`), whose questions hold none, and over numbers that only look like personal data.
Speed is of one process, by its own CPU time.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from benchmarks.chat_rows import rows as chat_rows
from retune.testing.personal_data import Planted, look_alikes, plant
from retune.text import privacy

BANKING = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking77"
SHORT = (
    "I am still waiting on my card?", "Can I get a second card for my daughter?", "My top-up has not worked.",
    "How long does a transfer from China take? I sent it 3 days ago.", "Why was I charged $1 for cash?",
)  # fmt: skip


def banking() -> list[str]:
    """The questions of BANKING77; none where it is not there."""
    texts = []
    for path in sorted(BANKING.glob("*.csv")):
        if path.name in ("train.csv", "test.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                texts += [row["text"] for row in csv.DictReader(file)]
    return texts


def recall(planted: Sequence[Planted]) -> dict[str, float]:
    """Share of each kind that is gone from its text and counted as what it is."""
    there, found = Counter[str](), Counter[str]()
    for one in planted:
        (text,), counts = privacy.redact([one.text])
        there[one.kind] += 1
        found[one.kind] += one.value not in text and counts[one.kind] > 0
    return {kind: round(found[kind] / there[kind], 4) for kind in privacy.KINDS if there[kind]}


def false_alarms(texts: Sequence[str]) -> dict[str, object]:
    """How many texts without personal data are changed, and by which kinds."""
    kinds, changed = Counter[str](), 0
    for text in texts:
        _, counts = privacy.redact([text])
        kinds.update(counts)
        changed += bool(counts)
    return {"rows": len(texts), "changed": changed, "kinds": dict(kinds)}


def speed(conversations: Sequence[Sequence[str]]) -> dict[str, float]:
    """The best of three passes."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for texts in conversations:
            privacy.redact(texts)
        seconds.append(time.process_time() - start)
    return {
        "characters_a_row": round(
            sum(len(text) for texts in conversations for text in texts) / len(conversations)
        ),
        "rows_per_second": round(len(conversations) / min(seconds)),
        "microseconds_a_row": round(min(seconds) / len(conversations) * 1e6, 1),
    }


def measure(rows: int) -> dict[str, object]:
    """Recall by kind over so many planted rows, false alarms, and rows a second on three sorts of text."""
    planted, real = list(plant(1, rows)), banking()
    short = list(islice(cycle(real or SHORT), rows))
    chat = [[turn["content"] for turn in row["messages"]] for row in chat_rows(min(rows, 5000))]
    alarms: dict[str, object] = {"look_alikes": false_alarms(list(look_alikes(1, rows)))}
    if real:
        alarms["banking77"] = false_alarms(real)
    return {
        "rows": rows,
        "recall": recall(planted),
        "false_alarms": alarms,
        "speed": {
            "planted": speed([[one.text] for one in planted]),
            "banking77" if real else "short": speed([[text] for text in short]),
            "chat_rows": speed(chat),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    print(json.dumps(measure(parser.parse_args().rows), indent=1))


if __name__ == "__main__":
    main()
