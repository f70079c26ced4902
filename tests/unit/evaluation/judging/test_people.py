"""What reviewers see says nothing of whose answers they are, and their votes find the way back."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.evaluation.judging.page import page
from retune.evaluation.judging.pairs import Better, Pair
from retune.evaluation.judging.people import (
    Answered,
    Key,
    Sheet,
    choose,
    count_reviews,
    laid_out,
    read_form,
)
from retune.evaluation.judging.votes import Votes, with_votes
from tests.unit.evaluation.builders import blob
from tests.unit.evaluation.judging.builders import outcomes, spec, store

MINE = outcomes([f"mine {number}" for number in range(40)], failed=[3])
THEIRS = outcomes(["mine 0 " if number == 0 else f"theirs {number}" for number in range(40)], failed=[4])
SEEN: list[Better] = ["first", "second", "tie"]


def sheets(count: int) -> list[Sheet]:
    more = {"rival": "champion", "page": blob("1"), "placed": blob("2"), "examples": 2, "timeout": "48h"}
    return [Sheet.model_validate({"reviewer": number, **more}) for number in range(1, count + 1)]


def review(reviewer: int, *better: Better, by: str = "") -> Answered:
    """What a reviewer said of the first examples."""
    said = {row.id: one for row, one in zip(MINE, better, strict=False)}
    return Answered(reviewer=reviewer, by=by or f"user {reviewer}", better=said)


def counted(folder: Path, *reviews: Answered, asked: int = 3) -> Votes:
    return count_reviews(sheets(asked), reviews, MINE, spec=spec(), artifacts=store(folder))


def test_people_compare_what_differs_and_the_same_for_the_same_seed() -> None:
    chosen = choose(MINE, THEIRS, 20, seed=7)
    assert len({mine.id for mine, _ in chosen}) == 20
    assert all(mine.id == theirs.id and not mine.error and not theirs.error for mine, theirs in chosen)
    assert choose(MINE[::-1], THEIRS, 20, seed=7) == chosen
    assert choose(MINE, THEIRS, 20, seed=8) != chosen
    everything = choose(MINE, THEIRS, 200, seed=7)
    # Both say the same to the first; the fourth and the fifth were answered by one only.
    assert {mine.id for mine, _ in everything} == {row.id for row in MINE} - {MINE[n].id for n in (0, 3, 4)}
    assert choose(MINE, MINE, 20, seed=7) == []


def test_each_reviewer_sees_an_order_of_their_own() -> None:
    chosen = choose(MINE, THEIRS, 200, seed=7)
    orders = [laid_out(chosen, reviewer, 7)[1] for reviewer in (1, 2)]
    assert orders[0] != orders[1] and laid_out(chosen, 1, 7)[1] == orders[0]
    for order in orders:
        first = sum(one.candidate == "first" for one in order)
        assert 8 <= first <= len(order) - 8


def test_a_vote_finds_the_answer_that_it_is_for() -> None:
    chosen = choose(MINE, THEIRS, 200, seed=7)
    pairs, placed = laid_out(chosen, 1, 7)
    fields = {
        f"example_{number}": "first" if pair.first.startswith("mine") else "second"
        for number, pair in enumerate(pairs, start=1)
    }
    assert read_form(fields, Key(placed=placed)) == {mine.id: "first" for mine, _ in chosen}


@pytest.mark.parametrize("value", [None, "", "FIRST", "third", 1, ["first"], {"first": 1}])
def test_a_field_that_is_no_choice_is_not_answered(value: object) -> None:
    _, placed = laid_out(choose(MINE, THEIRS, 2, seed=7), 1, 7)
    found = read_form({"example_1": value, "example_2": "tie", "example_3": "first"}, Key(placed=placed))
    assert found == {placed[1].id: "tie"}


def test_an_example_scores_the_mean_of_its_votes(tmp_path: Path) -> None:
    found = counted(tmp_path, review(1, "first", "second"), review(2, "first", "tie"), review(3, "second"))
    assert found.counts and found.rival == "champion"
    scores = [row.scores.get("people") for row in with_votes(MINE, found, store(tmp_path))]
    assert scores[:3] == [pytest.approx(2 / 3), 0.25, None]
    value = found.metrics["people"]
    assert value.value == pytest.approx((2 / 3 + 0.25) / 2) and value.n == 2
    assert found.figures["reviewers"] == 3 and found.figures["agreement"] == pytest.approx(2 / 8)
    assert found.sentence.startswith("3 of 3 reviewers compared 2 examples")


def test_those_who_answered_count_without_the_others(tmp_path: Path) -> None:
    found = counted(tmp_path, Answered(reviewer=1), review(3, *SEEN))
    assert found.counts and found.sentence.startswith("1 of 3 reviewers compared 3 examples")
    assert "agreement" not in found.figures and found.metrics["people"].value == 0.5


@pytest.mark.parametrize("reviews", [[], [Answered(reviewer=1), Answered(reviewer=2, by="a person")]])
def test_where_nobody_answered_the_metric_is_missing(tmp_path: Path, reviews: list[Answered]) -> None:
    found = counted(tmp_path, *reviews)
    assert not found.counts and found.metrics == {} and found.votes is None
    assert found.sentence == "None of the 3 reviewers compared an example in time."
    assert "nothing to review" in counted(tmp_path, asked=0).sentence


def test_who_answers_two_forms_is_heard_once(tmp_path: Path) -> None:
    twice = (review(2, "second", by="ann"), review(1, "first", by="ann"))
    found = counted(tmp_path, *twice)
    assert found.metrics["people"].value == 1.0 and found.figures["reviewers"] == 1
    assert "1 more forms came from the same people" in found.sentence


def test_the_page_names_nobody_and_runs_nothing() -> None:
    hostile = "<script>alert(1)</script>"
    html = page("tickets", [Pair(f"Where? {hostile}", hostile, " "), Pair("\ud800", "one", "two")]).decode()
    assert "&lt;script&gt;" in html and "<script" not in html
    assert "an empty answer" in html and html.count("<h3>First</h3>") == 2
    assert "candidate" not in html and "champion" not in html
