"""Which rows that are nearly the same go, and what is said of them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from retune.data.duplicates import find_links, stars
from retune.text.near_duplicates import signatures
from tests.unit.data.builders import example, table
from tests.unit.data.choosing import QUEUES, choose, close, remember, rows_of, said, side
from tests.unit.data.conftest import Project

CARD = "my new bank card has not arrived in the mail yet"


def others() -> list[dict[str, Any]]:
    """Rows that nothing is close to."""
    found: list[dict[str, Any]] = []
    for row in rows_of(0, 100, label_noise=0):
        if not close([row["text"]], [other["text"] for other in found], 0.3):
            found.append(row)
    return found


@pytest.fixture
def filled(project: Project) -> Project:
    """A project whose other rows are enough to split, and unlike what a test adds."""
    project.rows(others())
    return project


def dropped(project: Project, *rows: tuple[str, str], **changed: Any) -> list[tuple[Any, ...]]:
    """Return what is said of rows of `a.jsonl` that are added to the others."""
    project.rows([{"text": text, "queue": queue} for text, queue in rows], "a.jsonl")
    spec = project.spec("rows.jsonl", "a.jsonl", label_errors="off", **changed)
    return said(choose(project, spec))


def test_a_near_copy_with_the_same_label_goes(filled: Project) -> None:
    ((reason, file, line, detail),) = dropped(
        filled,
        (CARD, "shipping"),
        (CARD.replace("yet", "yet please"), "shipping"),
        ("please tell me what a transfer costs", "billing"),
        near_duplicates=0.8,
    )
    assert (reason, file, detail) == ("near_duplicate", "a.jsonl", f"of a.jsonl:{3 - line}")


def test_across_files_too(filled: Project) -> None:
    filled.rows([{"text": CARD.upper() + "!", "queue": "shipping"}], "b.jsonl")
    filled.rows([{"text": CARD, "queue": "shipping"}, *others()])
    spec = filled.spec("*.jsonl", label_errors="off")
    ((_, file, _, detail),) = said(choose(filled, spec), "near_duplicate")
    assert (file, detail) in {("rows.jsonl", "of b.jsonl:1"), ("b.jsonl", "of rows.jsonl:1")}


def test_a_near_copy_with_another_label_stays_on_the_same_side(filled: Project) -> None:
    # One letter can be the difference that a label is about.
    near = [(CARD, "shipping"), (CARD.replace("card", "cards"), "returns")]
    assert dropped(filled, *near) == []
    found = choose(filled, filled.spec("rows.jsonl", "a.jsonl", label_errors="off"))
    assert found.near_pairs >= 1
    assert found.examples.filter(pl.col("file") == "a.jsonl")["side"].n_unique() == 1


def test_prompts_that_differ_in_case_and_punctuation_only_are_a_conflict(filled: Project) -> None:
    several = "returns at a.jsonl:2, shipping at a.jsonl:1, shipping at a.jsonl:3"
    assert dropped(
        filled, (CARD, "shipping"), (f"{CARD.upper()} ?!", "returns"), (CARD.title(), "shipping")
    ) == [("conflict", "a.jsonl", line, several) for line in (1, 2, 3)]


def test_from_which_similarity_is_the_spec_s_word(filled: Project) -> None:
    rows = [(CARD, "shipping"), (CARD.replace("yet", ""), "shipping"), (CARD.upper(), "shipping")]
    assert len(dropped(filled, *rows, near_duplicates=0.7)) == 2
    assert len(dropped(filled, *rows, near_duplicates=0.99)) == 1
    assert dropped(filled, *rows, near_duplicates=1) == []


def test_of_a_chain_those_that_are_close_to_a_kept_one_go(project: Project) -> None:
    """A is close to B and B to C, but A is not close to C: A and C may both stay, B may not with either."""
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen".split()
    texts = [" ".join(words[start : start + 9]) for start in range(5)]
    project.rows([{"text": text, "queue": "x"} for text in texts])
    project.rows(others(), "b.jsonl")
    spec = project.spec("*.jsonl", label_errors="off", near_duplicates=0.75)
    found = choose(project, spec)
    kept = [text for text in found.examples["prompt"] if text in texts]
    assert 1 < len(kept) < 5
    assert len(close(kept, kept, 0.75)) == len(kept)  # each with itself only
    for reason, _, line, detail in said(found, "near_duplicate"):
        other = texts[int(detail.rpartition(":")[2]) - 1]
        assert reason == "near_duplicate" and other in kept
        assert close([texts[line - 1]], [other], 0.75)
    # What is left of the chain shares a side, also where a link of it has gone.
    assert found.examples.filter(pl.col("prompt").is_in(texts))["side"].n_unique() == 1


def test_what_an_earlier_dataset_holds_is_kept_rather_than_a_new_copy(project: Project) -> None:
    rows = rows_of(3, 60, label_noise=0)
    project.rows(rows)
    spec = project.spec("*.jsonl", label_errors="off")
    first = choose(project, spec)
    before = set(first.examples["id"])
    copies = [
        {**row, "text": f"{row['text']}!"} for row in rows if row["text"] in set(first.examples["prompt"])
    ]
    project.rows(copies, "0.jsonl")
    assert set(choose(project, spec, remember(first)).examples["id"]) == before
    # Without a history it is the ids' order that decides.
    assert set(choose(project, spec).examples["id"]) != before


def test_free_answers_must_be_alike_too(filled: Project) -> None:
    answer = "It takes five working days, so please wait until Friday of next week."
    rows = [(CARD, answer), (f"{CARD}!", answer.upper()), (f"{CARD}?", "Who knows; ask at the branch.")]
    filled.rows([{"text": text, "queue": queue} for text, queue in rows], "a.jsonl")
    spec = filled.spec("*.jsonl")
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"kind": "generation"})})
    found = choose(filled, spec)
    ((_, _, line, detail),) = said(found, "near_duplicate")
    assert {line, int(detail[-1])} == {1, 2}
    assert found.examples.filter(pl.col("file") == "a.jsonl")["side"].n_unique() == 1


@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_order_and_files_rows_stand_the_same_stay(project: Project, seed: int) -> None:
    rows = rows_of(seed, 300)
    spec = project.spec("*.jsonl", label_errors="off")
    project.rows(rows)
    first = choose(project, spec)
    assert first.drops.counts["near_duplicate"] > 20 and first.drops.counts["conflict"]
    rows = random.Random(seed).sample(rows, 300)
    project.rows(rows[:100])
    project.rows(rows[100:], "0.jsonl")
    again = choose(project, spec)
    what = ["id", "mark", "side"]
    assert again.examples.select(what).equals(first.examples.select(what))
    assert again.drops.counts == first.drops.counts


def test_no_two_kept_rows_of_a_label_are_close(project: Project) -> None:
    project.rows(rows_of(9, 400))
    found = choose(project, project.spec(label_errors="off", near_duplicates=0.8))
    assert found.drops.counts["near_duplicate"] > 40
    for label in QUEUES:
        prompts = found.examples.filter(pl.col("label") == label)["prompt"].to_list()
        assert len(close(prompts, prompts, 0.8)) == len(prompts)
    assert close(side(found, "train"), side(found, "train"), 0.66)


def test_equal_values_are_linked_to_the_one_of_the_least_rank_and_empty_ones_alone() -> None:
    values = pl.Series(["a", "", "b", "a", "", "a", "b"])
    assert stars(values, [3] * 7).tolist() == [[0, 3], [0, 5], [2, 6]]
    assert sorted(stars(values, [3, 3, 3, 2, 3, 0, 3]).tolist()) == [[2, 6], [5, 0], [5, 3]]
    assert stars(pl.Series([], dtype=pl.String), []).shape == (0, 2)


def test_many_rows_with_one_answer_are_compared_by_their_prompts(project: Project) -> None:
    words = [row["text"] for row in others()[:25]]
    asked = [text for word in words for text in (f"{word} and some more words", f"{word} and some more word")]
    project.rows([{"text": text, "queue": "Sorry, I cannot help with that."} for text in asked])
    spec = project.spec(near_duplicates=0.7)
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"kind": "generation"})})
    assert len(said(choose(project, spec), "near_duplicate")) == len(words)


def test_equal_signatures_stay_linked_without_the_row_they_were_paired_with() -> None:
    made = np.repeat(signatures([CARD]), 40, axis=0)
    found = find_links(table(example(f"{CARD} {number}", "x") for number in range(40)), made, 0.66)
    kept = found.keep(np.arange(40) > 0)
    assert kept.examples.height == 39 and set(kept.links.ravel()) == set(range(39))
    first = kept.links[kept.links[:, 0] == 0]
    assert set(first[:, 1]) >= set(range(1, 39))
