"""Near-duplicates: what counts as the same, what does not, and that the work stays bounded."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retune.errors import DataError
from retune.testing.leaks import edits
from retune.text.near_duplicates import LEAK_THRESHOLD, from_bytes, matches, pairs, signatures, to_bytes
from retune.text.shingles import NOTHING, SIZE
from retune.text.sketch_join import similarity

BANKING = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking77"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
WORDS = st.lists(st.text("abcdefghijklmnop", min_size=1, max_size=8), min_size=1, max_size=30)
GOLDEN = "0135e20739a619c1d53a18c93fc8bb5109ac536aff5406fd9b109b9c197eb651dac36fc0cf99c0e00654eb46dff34a54fd"
GOLDEN_UNICODE = (
    "012c590321d31427361649f81726d61b9594214cc523f62e24f99b2896952c04e62d179c40062d66f3596d1baa82512d"
    "915ae396ea1e9f03d4a2381ea3cc88a8b28dbaa41df1f844fa"
)
VOCABULARY = ["".join(random.Random(number).choices("etaoinshrdlu", k=6)) for number in range(3000)]


def long_text(seed: int, words: int = 220) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def changed(text: str, seed: int, words: int) -> str:
    rng, parts = random.Random(seed), text.split()
    for at in rng.sample(range(len(parts)), words):
        parts[at] = rng.choice(VOCABULARY)
    return " ".join(parts)


def shingles(text: str) -> set[str]:
    """All shingles of a text of lower-case words, one letter a byte."""
    words = text.split()
    grams = {f" {word} "[at : at + 3] for word in words for at in range(len(word))}
    return grams | {f"{f' {a}'[-3:]}_{f'{b} '[:3]}" for a, b in zip(words, words[1:], strict=False)}


def jaccard(a: str, b: str) -> float:
    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def estimate(a: str, b: str) -> float:
    return float(similarity(signatures([a, b]), np.array([0]), np.array([1]))[0])


def components(count: int, found: NDArray[np.int64]) -> list[int]:
    """The smallest row of each row's component."""
    root = list(range(count))

    def top(row: int) -> int:
        while root[row] != row:
            row = root[row]
        return row

    for a, b in found.tolist():
        low, high = sorted((top(a), top(b)))
        root[high] = low
    return [top(row) for row in range(count)]


@settings(deadline=None, max_examples=50)
@given(WORDS, st.randoms(use_true_random=False))
def test_case_white_space_and_punctuation_make_no_difference(words: list[str], rng: random.Random) -> None:
    plain = " ".join(words)
    other = "".join(rng.choice([" ", "  ", "\n", ", ", "... ", "\u3000"]) + word.upper() for word in words)
    both = signatures([plain, f"«{other}»?!"])
    assert (both[0] == both[1]).all()
    assert estimate(plain, other) == 1
    assert pairs(both, 1).tolist() == [[0, 1]]


def test_composed_curly_and_wide_forms_are_the_same() -> None:
    one = signatures(["Don't go to the café, it is Σας 10", "DON’T go to the cafe\u0301 it is ΣΑΣ １０"])
    assert (one[0] == one[1]).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(TEXT, max_size=8), st.randoms(use_true_random=False))
def test_a_signature_depends_on_its_text_alone(texts: list[str], rng: random.Random) -> None:
    together = signatures(texts)
    assert together.shape == (len(texts), SIZE)
    order = rng.sample(range(len(texts)), len(texts))
    assert (signatures([texts[row] for row in order]) == together[order]).all()
    for row, text in enumerate(texts):
        assert (signatures([text])[0] == together[row]).all()


def test_batches_and_threads_make_no_difference() -> None:
    texts = [long_text(seed, 20 + seed * 7 % 400) for seed in range(1500)]
    texts += ["spam " * 5000, "ab" * 40_000, "é" + long_text(1, 5000)]
    together = signatures(texts)
    for row in (0, 1, 700, 1499, 1500, 1501, 1502):
        assert (signatures([texts[row]])[0] == together[row]).all()


def test_the_signature_of_a_text_stays_what_it_is() -> None:
    # Registries keep these for years: a change here needs a new version, never a new golden value.
    assert to_bytes(signatures(["Where is my card?"]))[0].hex() == GOLDEN
    assert to_bytes(signatures(["¿Dónde está 我的银行卡 🙂?"]))[0].hex() == GOLDEN_UNICODE


@settings(deadline=None, max_examples=50)
@given(st.lists(TEXT, max_size=8))
def test_bytes_are_read_back(texts: list[str]) -> None:
    made = signatures([*texts, long_text(3)])
    stored = to_bytes(made)
    assert (from_bytes(stored) == made).all()
    assert max(map(len, stored)) == 256
    assert from_bytes([]).shape == (0, SIZE)


def test_signatures_of_another_version_are_all_named() -> None:
    good = to_bytes(signatures(["Where is my card?"]))[0]
    with pytest.raises(DataError) as caught:
        from_bytes([good, b"\x09abc", b"", good[:-1]])
    assert [problem.what.split(" is ")[0] for problem in caught.value.problems] == [
        "signature 1",
        "signature 2",
        "signature 3",
    ]
    assert "version 9" in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(WORDS, WORDS)
def test_short_texts_have_their_exact_similarity(a: list[str], b: list[str]) -> None:
    one, other = " ".join(a[:8]), " ".join(b[:4] + a[:4])
    # Two of some hundred hashes of 24 bits may collide, once in a few thousand pairs.
    assert estimate(one, other) == pytest.approx(jaccard(one, other), abs=0.03)


def test_long_texts_have_about_their_similarity() -> None:
    errors = [
        estimate(long_text(seed), other) - jaccard(long_text(seed), other)
        for seed in range(60)
        for other in [changed(long_text(seed), seed, 1 + seed)]
    ]
    # The standard error of 85 samples is at most 0.054.
    assert abs(float(np.mean(errors))) < 0.02
    assert float(np.std(errors)) < 0.054


def test_planted_clusters_are_the_components() -> None:
    texts, cluster = [], []
    for seed in range(400):
        original = long_text(seed, 10 + seed % 250)
        for copy in range(1 + seed % 4):
            texts.append(
                original if not copy else changed(original, copy, 1) if seed % 3 else original.upper()
            )
            cluster.append(seed)
    first = [cluster.index(seed) for seed in cluster]
    found = pairs(signatures(texts), 0.6)
    assert components(len(texts), found) == first
    assert (found[:, 0] < found[:, 1]).all()
    assert len(np.unique(found, axis=0)) == len(found)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_no_pair_is_missed(threshold: float) -> None:
    rng = random.Random(5)
    texts = [" ".join(rng.choices(VOCABULARY[:12], k=rng.randint(1, 8))) for _ in range(300)]
    made = signatures(texts)
    a, b = np.triu_indices(len(texts), 1)
    true = np.column_stack([a, b])[similarity(made, a, b) >= threshold - 1e-9]
    found = {tuple(pair) for pair in pairs(made, threshold).tolist()}
    few_equal = [tuple(pair) for pair in true.tolist() if texts.count(texts[pair[0]]) < 8]
    assert found >= set(few_equal)
    assert found <= {tuple(pair) for pair in true.tolist()}

    near = matches(made[:150], made[150:], threshold)
    side = similarity(made, np.repeat(np.arange(150), 150), np.tile(np.arange(150, 300), 150)).reshape(
        150, 150
    )
    assert ((near >= 0) == (side.max(axis=1) >= threshold - 1e-9)).all()
    hit = np.flatnonzero(near >= 0)
    assert (side[hit, near[hit]] == side[hit].max(axis=1)).all()


def test_a_crowd_of_equal_rows_is_a_star() -> None:
    made = np.repeat(signatures(["where is my card", long_text(1)]), 50_000, axis=0)
    found = pairs(made, LEAK_THRESHOLD)
    assert len(found) < 2 * 50_100
    assert components(100_000, found) == [0] * 50_000 + [50_000] * 50_000
    assert (matches(made, made[49_999:], LEAK_THRESHOLD) >= 0).all()


def test_a_crowd_of_similar_rows_is_one_component() -> None:
    texts = [f"please refund order {number} of last week" for number in range(3000)]
    found = pairs(signatures(texts), LEAK_THRESHOLD)
    assert len(found) < 500 * len(texts)
    assert set(components(len(texts), found)) == {0}


@pytest.mark.parametrize(
    ("text", "copy", "other"),
    [
        ("我的银行卡什么时候到？", "我的银行卡什么时候到!", "如何更改密码和电子邮件"),
        ("أين بطاقتي الجديدة من فضلك؟", "أين بطاقتي الجديدة، من فضلك", "لماذا تم رفض الدفع"),
        ("Где моя новая карта?", "ГДЕ моя новая карта", "Почему отклонили платёж"),
        ("カードはいつ届きますか？", "カードはいつ届きますか", "パスワードを変更したい"),
    ],
)
def test_other_scripts_are_told_apart(text: str, copy: str, other: str) -> None:
    made = signatures([text, copy, other])
    assert pairs(made, LEAK_THRESHOLD).tolist() == [[0, 1]]


def test_what_is_empty_matches_nothing() -> None:
    made = signatures(["", " \n", "?!", "", "a"])
    assert (made[:4] == NOTHING).all()
    assert pairs(made, 0.5).tolist() == []
    assert matches(made, made, 0.5).tolist() == [-1, -1, -1, -1, 4]
    assert to_bytes(made[:1]) == [b"\x01"]
    none = signatures([])
    assert pairs(none, 0.5).shape == (0, 2)
    assert matches(made, none, 0.5).tolist() == [-1] * 5
    assert matches(none, made, 0.5).shape == (0,)


def test_edited_copies_of_held_out_rows_are_caught() -> None:
    if not BANKING.is_dir():
        pytest.skip(f"needs BANKING77 in {BANKING}")
    with (BANKING / "test.csv").open(encoding="utf-8", newline="") as file:
        held_out = [row["text"] for row in csv.DictReader(file)]
    rng = random.Random(77)
    planted = [copy for text in rng.sample(held_out, 800) for copy in edits(text, rng).values()]
    known = from_bytes(to_bytes(signatures(held_out)))
    assert np.mean(matches(signatures(planted), known, LEAK_THRESHOLD) >= 0) >= 0.99
