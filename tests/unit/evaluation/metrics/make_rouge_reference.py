"""Writes rouge_reference.json by Google's rouge-score: run it where `rouge-score==0.1.2` is installed.

The package has no wheel, so that Retune cannot depend on it; its figures are kept instead.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-not-found]

WORDS = ["The", "cat", "sat", "on", "the", "mat", "Mat.", "2", "2nd", "don't", "naïve", "Straße", "e-mail"]
FIXED = [
    ("the quick brown fox", "quick fox the"),
    ("The Cat sat.", "the cat sat"),
    ("one", ""),
    ("one", "!!!"),
    ("a b c d", "d c b a"),
    ("a a a b", "a a"),
    ("price: 12,50 EUR", "price 12.50 eur"),
    ("under_score x2", "under score x 2"),
    ("İstanbul", "istanbul"),
    ("日本語 text", "text"),
    ("word " * 400, "word " * 399 + "end"),
]


def pairs() -> list[tuple[str, str]]:
    """The texts: hand-made ones, then random ones by a fixed seed."""
    draw = random.Random(5)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 25))) for _ in range(160)]
    return FIXED + list(zip(texts[::2], texts[1::2], strict=True))


def main() -> None:
    """Score every pair and write the file beside this one."""
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rows = [
        {"expected": expected, "answer": answer, "f": scorer.score(expected, answer)["rougeL"].fmeasure}
        for expected, answer in pairs()
    ]
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    Path(__file__).with_name("rouge_reference.json").write_text(text)


if __name__ == "__main__":
    main()
