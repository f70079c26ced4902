"""How fast are near-duplicates found, how many, and which planted leaks does the firewall catch?

    PYTHONPATH=plugins python -m benchmarks.near_duplicates [--rows 100000]

`measure` stands beside datasketch (128 permutations, MinHashLSH) over the same shingles. `leaks`
plants copies of held-out BANKING77 questions and needs `../shared/data/banking77`.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rapidfuzz import fuzz

from retune.testing.leaks import edits, reworded
from retune.text.near_duplicates import LEAK_THRESHOLD, from_bytes, matches, pairs, signatures, to_bytes
from retune.text.shingles import Sketches

BANKING = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking77"
RESULTS = Path(__file__).parent / "results" / "near_duplicates.json"
THRESHOLD = 0.9


def chat_rows(count: int, seed: int = 0, length: int = 1300, copied: float = 0.1) -> list[str]:
    """Rows of made-up words in Zipf's proportions; a share are others with one to six words changed."""
    rng = random.Random(seed)
    letters, weights = "etaoinshrdlcumwfgypbvkjxqz", range(27, 1, -1)
    words = ["".join(rng.choices(letters, weights, k=max(1, round(rng.gauss(5, 2))))) for _ in range(20_000)]
    shares = np.cumsum(1 / (np.arange(20_000) + 2.7)).tolist()
    rows: list[str] = []
    for _ in range(count):
        if rows and rng.random() < copied:
            row = rng.choice(rows).split()
            for _ in range(rng.choice((1, 2, 3, 6))):
                row[rng.randrange(len(row))] = rng.choice(words)
        else:
            row = rng.choices(words, cum_weights=shares, k=length // 6)
            row[::11] = [word.capitalize() for word in row[::11]]
            row[10::11] = [word + rng.choice(".,?!") for word in row[10::11]]
        rows.append(" ".join(row))
    return rows


def shingles(text: str) -> set[str]:
    """What `retune.text.shingles` makes of ASCII text, one by one."""
    kept = (c if c.isalnum() or c in "$+<=>|~" else " " for c in text.lower() if c != "'")
    words = "".join(kept).split()
    grams = {f" {word} "[at : at + 3] for word in words for at in range(len(word))}
    return grams | {f"{f' {a}'[-3:]}_{f'{b} '[:3]}" for a, b in zip(words, words[1:], strict=False)}


def datasketch_pairs(texts: Sequence[str]) -> tuple[set[tuple[int, int]], float]:
    """What MinHashLSH finds, verified by its own estimate, and the seconds from shingles to pairs."""
    from datasketch import MinHash, MinHashLSH

    tokens = [[gram.encode() for gram in shingles(text)] for text in texts]
    start = time.perf_counter()
    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=128), set()
    hashes = MinHash.bulk(tokens, num_perm=128)
    for row, one in enumerate(hashes):
        for other in index.query(one):
            if one.jaccard(hashes[other]) >= THRESHOLD:
                found.add((other, row))
        index.insert(row, one)
    return found, time.perf_counter() - start


def measure(texts: Sequence[str], peer_rows: int = 4000) -> dict[str, float]:
    """Rows a second from texts to pairs, ours (the best of three) and datasketch's; who finds whose pairs."""
    signatures(texts[:2000])
    wall, signing, cpu, made = min((_join(texts) for _ in range(3)), key=lambda run: run[0])
    sample = texts[:peer_rows]
    theirs, seconds = datasketch_pairs(sample)
    ours = {tuple(pair) for pair in pairs(signatures(sample), THRESHOLD).tolist()}
    grams = [shingles(text) for text in sample]
    close = {
        (a, b) for a, b in ours | theirs if len(grams[a] & grams[b]) >= THRESHOLD * len(grams[a] | grams[b])
    }
    return {
        "rows": len(texts),
        "characters_a_row": round(sum(map(len, texts)) / len(texts)),
        "rows_per_second": round(len(texts) / wall),
        "rows_per_cpu_second": round(len(texts) / cpu),
        "signature_rows_per_second": round(len(texts) / signing),
        "bytes_a_signature": max(map(len, to_bytes(made))),
        "datasketch_rows_per_second": round(len(sample) / seconds),
        "datasketch_pairs": len(theirs),
        "pairs_in_the_same_rows": len(ours),
        "share_of_datasketch_pairs": round(len(ours & theirs) / max(len(theirs), 1), 4),
        "share_of_datasketch_pairs_truly_close": round(
            len(ours & theirs & close) / max(len(theirs & close), 1), 4
        ),
        "truly_close_ours": round(len(ours & close) / max(len(close), 1), 4),
        "truly_close_datasketch": round(len(theirs & close) / max(len(close), 1), 4),
    }


def _join(texts: Sequence[str]) -> tuple[float, float, float, Sketches]:
    """Return the seconds of all, of the signatures alone, those of the CPU, and the signatures."""
    start, cpu = time.perf_counter(), time.process_time()
    made = signatures(texts)
    between = time.perf_counter()
    pairs(made, THRESHOLD)
    return time.perf_counter() - start, between - start, time.process_time() - cpu, made


def banking(name: str) -> list[str]:
    with (BANKING / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def leaks(threshold: float = LEAK_THRESHOLD, planted: int = 1500) -> dict[str, object]:
    """Shares caught by kind of edit; what else is flagged, and whether it is truly close."""
    train, held_out, rng = banking("train"), banking("test"), random.Random(77)
    copies: defaultdict[str, list[str]] = defaultdict(list)
    for text in rng.sample(held_out, planted):
        for kind, copy in edits(text, rng).items():
            copies[kind].append(copy)
        if reworded(text) != text:
            copies["reworded"].append(reworded(text))
    known = from_bytes(to_bytes(signatures(held_out)))
    caught = {kind: matches(signatures(texts), known, threshold) >= 0 for kind, texts in copies.items()}
    edited = np.concatenate([hits for kind, hits in caught.items() if kind != "reworded"])
    near = matches(signatures(train), known, threshold)
    flagged = [(train[row], held_out[near[row]]) for row in np.flatnonzero(near >= 0)]
    exact = [jaccard(a, b) for a, b in flagged]
    edit = [fuzz.token_sort_ratio(a.lower(), b.lower()) for a, b in flagged]
    return {
        "threshold": threshold,
        "copies": sum(map(len, copies.values())),
        "caught_exact_and_edited": round(float(edited.mean()), 4),
        "caught_by_kind": {kind: round(float(hits.mean()), 4) for kind, hits in sorted(caught.items())},
        "unplanted_rows": len(train),
        "unplanted_flagged": round(len(flagged) / len(train), 4),
        "false_alarms_exact_jaccard_below": round(sum(j < threshold for j in exact) / len(train), 4),
        "flagged_with_edit_similarity_below": {
            str(least): round(sum(e < least for e in edit) / len(train), 4) for least in (65, 70, 75, 80)
        },
        "lowest_exact_jaccard_flagged": round(min(exact), 3),
        "lowest_edit_similarity_flagged": round(min(edit), 1),
    }


def jaccard(a: str, b: str) -> float:
    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    results: dict[str, object] = {"chat_rows": measure(chat_rows(parser.parse_args().rows))}
    if BANKING.is_dir():
        results["banking77_leaks"] = leaks()
    print(json.dumps(results, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
