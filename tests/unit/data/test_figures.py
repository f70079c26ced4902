from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.data.distributions import bins, diversity_of, lengths_of
from retune.data.drops import Drops
from retune.data.figures import Found, describe
from retune.data.label_errors import LabelErrors, Suspect
from retune.data.spool import Spool
from retune.data.token_totals import MOST_COUNTED, total_tokens
from retune.data.traffic_distance import distance_to_traffic
from retune.text.conversations import conversation
from retune.text.tokens import TokenCounter
from tests.unit.data.card_rows import spec, spooled, tickets, with_sides


@pytest.fixture
def sixty(tmp_path: Path) -> Iterator[tuple[pl.DataFrame, Spool]]:
    examples, spool = spooled(tmp_path / "spool", tickets(["parcel", "invoice", "login"], 20))
    yield with_sides(examples), spool
    spool.close()


def test_the_figures_are_plain_json_and_add_up(sixty: tuple[pl.DataFrame, Spool]) -> None:
    examples, spool = sixty
    drops = Drops()
    drops.add(examples[:3].with_columns(detail=pl.lit("of rows.jsonl:9")), "duplicate")
    drops.add(examples[3:5], "conflict", "also under login")
    leaks = examples[5:8].with_columns(detail=pl.Series(["exact", "near", "near"]))
    drops.add(leaks, "was_held_out")
    found = Found(
        rows_read={"rows.jsonl": 60}, personal={"email": 4, "iban": 0}, near_pairs=2, held_out_uses=6
    )
    figures = describe(examples[8:], drops, spool, spec(), found)
    assert json.loads(json.dumps(figures)) == figures
    assert (figures["rows"]["read"], figures["rows"]["kept"]) == (60, 52)
    assert [(drop["reason"], drop["rows"]) for drop in figures["drops"]] == [
        ("duplicate", 3),
        ("conflict", 2),
        ("was_held_out", 3),
    ]
    assert figures["drops"][0]["examples"][0] == {
        "file": "rows.jsonl",
        "line": 1,
        "detail": "of rows.jsonl:9",
        "text": "please help me with parcel number 0 of parcels",
    }
    assert figures["leaks"] | {"said": ""} == {
        "stopped": 3,
        "exact": 1,
        "near": 2,
        "bridges": 0,
        "held_out_uses": 6,
        "said": "",
    }
    assert figures["personal"]["kinds"] == {"email": 4}
    assert figures["rows"]["sources"] == [{"file": "rows.jsonl", "read": 60, "kept": 52}]
    assert (figures["traffic"], figures["label_errors"]) == (None, None)


@pytest.mark.parametrize("reason", ["personal_data", "forgotten", "malformed"])
def test_the_text_of_rows_that_nobody_may_see_is_not_shown(
    sixty: tuple[pl.DataFrame, Spool], reason: str
) -> None:
    examples, spool = sixty
    drops = Drops()
    drops.add(examples[:2], reason, "email")
    figures = describe(examples[2:], drops, spool, spec(), Found({"rows.jsonl": 60}))
    assert [example["text"] for example in figures["drops"][0]["examples"]] == ["", ""]


def test_dropped_rows_without_a_text_are_shown_by_their_place(sixty: tuple[pl.DataFrame, Spool]) -> None:
    examples, spool = sixty
    drops = Drops()
    some = examples[:2].with_columns(size=pl.Series([0, examples["size"][1]]))
    drops.add(some, "filtered", "queue is 'x'")
    shown = describe(examples[2:], drops, spool, spec(), Found({"rows.jsonl": 60}))["drops"][0]["examples"]
    assert [(example["line"], example["text"][:14]) for example in shown] == [(1, ""), (2, "please help me")]


def test_labels_are_counted_by_side_and_their_evenness_is_said(tmp_path: Path) -> None:
    rows = [conversation("", f"question {n}", "big" if n < 30 else "small") for n in range(40)]
    examples, spool = spooled(tmp_path / "spool", rows)
    figures = describe(with_sides(examples), Drops(), spool, spec(), Found({"rows.jsonl": 40}))
    assert figures["labels"]["labels"] == [
        {"label": "big", "rows": 30, "train": 21, "validation": 3, "held_out": 6},
        {"label": "small", "rows": 10, "train": 7, "validation": 1, "held_out": 2},
    ]
    assert figures["labels"]["ratio"] == 3
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert figures["labels"]["entropy"] == pytest.approx(expected, abs=1e-4)


def test_the_split_says_what_was_wished_and_where_it_is_furthest_off(tmp_path: Path) -> None:
    rows = [conversation("", f"question {n}", "a" if n < 10 else "b") for n in range(20)]
    examples, spool = spooled(tmp_path / "spool", rows)
    sides = ["train"] * 10 + ["train"] * 4 + ["validation"] * 2 + ["held_out"] * 4
    found = Found({"rows.jsonl": 20})
    split = describe(examples.with_columns(side=pl.Series(sides)), Drops(), spool, spec(), found)["split"]
    assert [(side["side"], side["rows"], side["deviation"]) for side in split["sides"]] == [
        ("train", 14, 0.0),
        ("validation", 2, 0.0),
        ("held_out", 4, 0.0),
    ]
    assert {(item["of"], item["side"], item["rows_off"]) for item in split["worst"][:2]} == {
        ("a", "train", 3.0),
        ("b", "train", -3.0),
    }


def test_free_text_has_no_labels(tmp_path: Path) -> None:
    examples, spool = spooled(tmp_path / "spool", tickets(["parcel"], 12), labelled=False)
    figures = describe(with_sides(examples), Drops(), spool, spec("generation"), Found({"rows.jsonl": 12}))
    assert figures["labels"] is None
    assert figures["split"]["worst"] == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (40, "28 rows to train on: below the 50 to 100"),
        (100, "70 rows to train on: above the 50 to 100 from which OpenAI sees improvements, below the 500"),
        (1500, "1,050 rows to train on: above the 1,000 that are recommended."),
    ],
)
def test_the_rows_are_held_against_the_guide(tmp_path: Path, rows: int, said: str) -> None:
    examples, spool = spooled(tmp_path / "spool", tickets(["parcel", "login"], rows // 2))
    figures = describe(with_sides(examples), Drops(), spool, spec(), Found({"rows.jsonl": rows}))
    assert figures["rows"]["said"].startswith(said)


def test_suspects_are_shown_with_their_place(sixty: tuple[pl.DataFrame, Spool]) -> None:
    examples, spool = sixty
    errors = LabelErrors([Suspect(4, "invoice", "login", 0.98765)], rows=60, judged=60)
    found = Found({"rows.jsonl": 60}, label_errors=errors, judged=examples)
    figures = describe(examples, Drops(), spool, spec(label_errors="drop"), found)["label_errors"]
    assert figures["top"] == [
        {
            "file": "rows.jsonl",
            "line": 5,
            "text": "please help me with invoice number 1 of invoices",
            "given": "invoice",
            "suggested": "login",
            "confidence": 0.9877,
        }
    ]
    assert figures["said"].endswith("They were left out.")


def words(texts: Any) -> list[int]:
    return [len(text.split()) for text in texts]


def test_the_tokens_of_many_rows_are_reckoned_from_some(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = [conversation("", f"{n} " + "word " * rng.randint(1, 200), "yes") for n in range(2 * MOST_COUNTED)]
    examples, spool = spooled(tmp_path / "spool", rows)
    counter = TokenCounter("words", True, _encode=words)
    true = sum(counter.conversations(rows))
    total = total_tokens("base", 100, counter, examples, spool, seed=7)
    assert total.error is not None and 0 < total.error < 0.01
    assert abs(total.tokens - true) / true <= 2 * total.error
    assert len(total.lengths) == MOST_COUNTED and f"±{total.error:.1%}" in total.said
    few = total_tokens("base", 100, counter, examples[:50], spool, seed=7)
    assert (few.tokens, few.error) == (sum(counter.conversations(rows[:50])), 0.0)


def test_an_estimate_is_called_one(tmp_path: Path) -> None:
    examples, spool = spooled(tmp_path / "spool", tickets(["parcel"], 12))
    total = total_tokens("base", 5, TokenCounter("a guess", False, _encode=words), examples, spool, seed=7)
    assert total.error is None and "a guess; it may be off by a third" in total.said
    found = Found({"rows.jsonl": 12}, tokens=[total])
    figures = describe(with_sides(examples), Drops(), spool, spec(), found)
    assert (figures["tokens"][0]["over_window"], figures["tokens"][0]["exact"]) == (12, False)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60))
def test_a_histogram_holds_every_row(values: list[int]) -> None:
    found = lengths_of(pl.Series(values))
    assert sum(found["counts"]) + found["above"] == len(values)
    for start, end, count in bins(found):
        inside = sum(start <= value < end for value in values if value <= found["quantiles"]["p99"])
        assert inside == count
    assert (found["quantiles"]["least"], found["quantiles"]["most"]) == (min(values), max(values))


def test_no_rows_have_no_lengths() -> None:
    assert lengths_of(pl.Series([], dtype=pl.Int32))["counts"] == []


def test_repeated_texts_are_less_varied() -> None:
    assert diversity_of(["a b c d"])["distinct"] == {"1": 1.0, "2": 1.0, "3": 1.0}
    assert diversity_of(["a b c d"] * 4)["distinct"] == {"1": 0.25, "2": 0.25, "3": 0.25}
    assert diversity_of([])["distinct"] == {"1": 0.0, "2": 0.0, "3": 0.0}


def test_traffic_like_the_training_data_is_near_and_other_traffic_far() -> None:
    rng = random.Random(1)
    vocabulary = [
        f"{first}{second}" for first in ("ba", "de", "fo", "gu") for second in ("lik", "mon", "tar", "ves")
    ]
    prompts = [" ".join(rng.choices(vocabulary, k=6)) for _ in range(400)]
    near = distance_to_traffic(prompts[:200], prompts[200:], 7)
    assert near.auc is not None and near.auc < 0.6 and "much like" in near.said
    moved = [f"{prompt} urgent" if number % 2 else prompt for number, prompt in enumerate(prompts[200:])]
    far = distance_to_traffic(prompts[:200], moved, 7)
    assert far.auc is not None and 0.65 < far.auc < 0.9
    assert far.in_traffic[0] == "urgent"
    same = distance_to_traffic(prompts[:200], prompts[:200], 7)
    assert same.auc is not None and same.auc <= 0.5


def test_too_little_traffic_is_said() -> None:
    found = distance_to_traffic([f"question {n}" for n in range(100)], ["one", "one", "two"], 7)
    assert (found.auc, found.traffic) == (None, 2)
    assert "too few to compare" in found.said
    silent = distance_to_traffic([f"{n}" for n in range(100)], [f"{n}!" for n in range(100)], 7)
    assert silent.auc is None


def test_words_that_tell_apart_hold_no_numbers_nor_addresses() -> None:
    train = [f"question about parcel {n}" for n in range(60)]
    traffic = [f"call 4711-0815 or ann1@acme.example about parcel {n}" for n in range(60)]
    found = distance_to_traffic(train, traffic, 7)
    assert not [word for word in (*found.in_train, *found.in_traffic) if not word.isalpha()]
    assert "call" in found.in_traffic
