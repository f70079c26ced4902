from __future__ import annotations

import json
import random
import unicodedata
from typing import Any

import polars as pl
import pytest
from hypothesis import example as for_example
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data import jsonl
from retune.data.cleaning import cap, clean_text, drop_conflicts, drop_duplicates, drop_unlisted, seeded
from retune.data.drops import Drops
from retune.spec.data import Caps
from tests.unit.data.builders import example, table

# Combining marks, composed letters, and what cleaning takes out: the rare characters, often.
ODD = st.text(
    st.one_of(
        st.sampled_from(
            "e\u0301\u0327\u0344é\x00\x07\x7f\x85\x9f\ufeff\r\n\t \u00a0\u2028\u200d\u1100\u1161\ufb2c"
        ),
        st.characters(exclude_categories=["Cs"]),
    )
)


def said(drops: Drops) -> list[tuple[Any, ...]]:
    return sorted(drops.frame.select("reason", "file", "line", "detail").rows()) if drops.counts else []


@given(ODD)
@for_example("e\x00\u0301")
@for_example("\u1100\ufeff\u1161")
def test_a_clean_text_is_plain(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean == clean.strip()
    assert unicodedata.is_normalized("NFC", clean)
    assert not [one for one in clean if unicodedata.category(one) == "Cc" and one not in "\n\t"]
    assert "\ufeff" not in clean
    # NFC writes a few characters as two or three; nothing else makes a text longer.
    assert len(clean) <= len(unicodedata.normalize("NFC", text))


@given(ODD)
def test_nothing_that_is_seen_is_lost(text: str) -> None:
    assert unicodedata.normalize("NFD", "".join(clean_text(text).split())) == unicodedata.normalize(
        "NFD",
        "".join(
            "".join(one for one in text if unicodedata.category(one) != "Cc" or one in "\r\n\t").split()
        ).replace("\ufeff", ""),
    )


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("\ufeff  caf\u0065\u0301 \t", "café"),
        ("a\tb  c\u00a0d", "a\tb  c\u00a0d"),
        ("nul\x00l \x1b[31mred\x7f\x9b", "null [31mred"),
        ("👩\u200d🚒 \u2028 ok", "👩\u200d🚒 \u2028 ok"),
        (" \n\r\x00\ufeff", ""),
    ],
)
def test_what_becomes_of_a_text(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\"\r\n\t\x7f\x00é')))
def test_a_line_that_is_called_plain_holds_nothing_to_clean_but_its_ends(text: str) -> None:
    for ascii_only in (True, False):
        if jsonl.is_plain(json.dumps({"text": text}, ensure_ascii=ascii_only).encode()):
            assert clean_text(text) == text.strip()


def test_labels_that_are_not_listed_go() -> None:
    given, drops = table([example("a", "x"), example("b", "y", line=2), example("c", "X", line=3)]), Drops()
    assert drop_unlisted(given, (), drops).equals(given)
    assert drops.counts["unlisted_label"] == 0
    assert drop_unlisted(given, ("x", "z"), drops)["label"].to_list() == ["x"]
    assert said(drops) == [("unlisted_label", "a.jsonl", 2, "y"), ("unlisted_label", "a.jsonl", 3, "X")]


def test_copies_go_and_name_the_one_that_stays() -> None:
    drops = Drops()
    given = [
        example("where is it", "x", file="b.jsonl", line=1, mark=1),
        example("where is it", "x", file="a.jsonl", line=9, mark=1),
        example(" where  is it\n", "x", file="c.jsonl", line=2, mark=2),
        example("where is it", "y", line=3),
        example("else", "x", line=4),
    ]
    kept = drop_duplicates(table(given), drops)
    assert kept["id"].to_list() == sorted({row["id"] for row in given})
    assert sorted(kept["line"]) == [3, 4, 9]
    assert said(drops) == [
        ("duplicate", "b.jsonl", 1, "of a.jsonl:9"),
        ("duplicate", "c.jsonl", 2, "of a.jsonl:9"),
    ]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.sampled_from("xxxxxy"), st.integers(0, 2), st.sampled_from("gh")
        )
    ),
    st.randoms(use_true_random=False),
)
def test_in_whatever_order_and_files_rows_stand_the_same_stay(
    given: list[tuple[str, str, int, str]], rng: random.Random
) -> None:
    what = ["id", "mark", "group", "time", "stratum", "subject"]
    found = []
    for _ in range(2):
        rng.shuffle(given)
        placed = [
            # A mark stands for the text's bytes; a group is another column of the same row.
            example(text, label, mark=mark, group=group, file=rng.choice("pq"), line=line)
            for line, (text, label, mark, group) in enumerate(given, start=1)
        ]
        drops = Drops()
        kept = drop_conflicts(drop_duplicates(table(placed), drops), drops)
        found.append((kept.select(what).rows(), drops.counts))
    assert found[0] == found[1]


def test_a_prompt_under_several_labels_goes_with_all_its_labels() -> None:
    drops = Drops()
    given = [
        example("unclear", "x", line=1),
        example("unclear ", "y", file="b.jsonl", line=2),
        example("clear", "x", line=3),
        *(example("many", label, line=line) for line, label in enumerate("dcba", start=4)),
    ]
    assert drop_conflicts(table(given), drops)["line"].to_list() == [3]
    several = "a at a.jsonl:7, b at a.jsonl:6, c at a.jsonl:5"
    assert said(drops) == [
        ("conflict", "a.jsonl", 1, "x at a.jsonl:1, y at b.jsonl:2"),
        *(("conflict", "a.jsonl", line, several) for line in (4, 5, 6, 7)),
        ("conflict", "b.jsonl", 2, "x at a.jsonl:1, y at b.jsonl:2"),
    ]


NONE = pl.Series([], dtype=pl.String)


def many(**counts: int) -> pl.DataFrame:
    return table(
        example(f"{label} {n}", label, file=f"{'ab'[n % 2]}.jsonl", line=n)
        for label, count in counts.items()
        for n in range(count)
    )


def test_caps_leave_out_what_is_over_them_and_say_so() -> None:
    given, drops = many(x=25, y=4), Drops()
    kept = cap(given, Caps(label=10), NONE, 7, drops)
    assert dict(kept["label"].value_counts().iter_rows()) == {"x": 10, "y": 4}
    assert kept.columns == given.columns and kept["id"].is_sorted()
    assert set(drops.frame["detail"]) == {"x has 25 examples, 10 may stay"}
    assert drops.counts["capped"] == 15
    kept = cap(given, Caps(source=12), NONE, 7, drops := Drops())
    assert dict(kept["file"].value_counts().iter_rows()) == {"a.jsonl": 12, "b.jsonl": 12}
    assert set(drops.frame["detail"]) == {
        "a.jsonl has 15 examples, 12 may stay",
        "b.jsonl has 14 examples, 12 may stay",
    }
    assert cap(given, Caps(), NONE, 7, Drops()).equals(given)


@settings(max_examples=25)
@given(st.integers(0, 63), st.integers(0, 63), st.sets(st.integers(0, 39), max_size=20))
def test_a_cap_s_choice_is_the_seed_s_and_prefers_what_was_there(one: int, other: int, old: set[int]) -> None:
    given = many(x=40)
    earlier = given[sorted(old)]["fingerprint"]
    first = cap(given, Caps(label=15), earlier, one, Drops())
    assert first.equals(cap(given, Caps(label=15), earlier, one, Drops()))
    known = first["fingerprint"].is_in(earlier.implode()).sum()
    assert (first.height, known) == (15, min(15, len(old)))
    # Nearly all choices of 15 out of 40 differ, so seeds that are far apart choose differently.
    if one != other and not old:
        assert not first.equals(cap(given, Caps(label=15), NONE, other, Drops()))


@settings(max_examples=25)
@given(st.integers(0, 10**9) | st.integers(0, 10**6).map(lambda n: 64 * n))
def test_a_seed_orders_by_another_part_of_the_hash(seed: int) -> None:
    given = many(x=50)
    keys = given.select(seeded(pl.col("id"), seed)).to_series()
    assert keys.n_unique() == 50
    assert [sorted(key) for key in keys] == [sorted(name) for name in given["id"]]
    assert (keys.to_list() == given["id"].to_list()) == (seed % 64 == 0)
