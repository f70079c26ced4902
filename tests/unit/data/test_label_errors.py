from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from retune.data import label_errors
from retune.data.label_errors import LabelErrors, find

TOPICS = {
    "billing": "invoice charge refund amount paid card bank statement".split(),
    "shipping": "parcel courier delivery tracking late address box arrived".split(),
    "account": "login password email locked profile username reset code".split(),
}


def rows_of(each: int, seed: int = 1) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    labels = [label for label in TOPICS for _ in range(each)]
    return [f"my {' '.join(rng.sample(TOPICS[label], 4))} please" for label in labels], labels


def found_in(prompts: list[str], labels: list[str], seed: int = 7) -> LabelErrors:
    return find(lambda rows: [prompts[row] for row in rows], labels, seed)


def test_planted_errors_are_found_with_their_true_label() -> None:
    prompts, labels = rows_of(60)
    true = list(labels)
    planted = random.Random(3).sample(range(len(labels)), 9)
    for row in planted:
        labels[row] = next(label for label in TOPICS if label != labels[row])
    found = found_in(prompts, labels)
    assert sorted(suspect.row for suspect in found.suspects) == sorted(planted)
    assert all((s.given, s.suggested) == (labels[s.row], true[s.row]) for s in found.suspects)
    confidence = [suspect.confidence for suspect in found.suspects]
    assert confidence == sorted(confidence, reverse=True)
    assert all(0.5 < value <= 1 for value in confidence)
    assert found.said == "9 of 180 judged labels are likely wrong (5.0%)."


def test_rows_that_a_model_tells_apart_are_no_suspects() -> None:
    assert found_in(*rows_of(60)).suspects == []


def test_the_same_seed_finds_the_same() -> None:
    prompts, labels = rows_of(40)
    random.Random(2).shuffle(labels)
    first = found_in(prompts, labels)
    assert first.suspects and found_in(prompts, labels) == first


def test_labels_with_fewer_rows_than_folds_are_left_out_and_said() -> None:
    prompts, labels = rows_of(30)
    found = found_in([*prompts, "one", "two", "three"], [*labels, "rare", "rare", "rarer"])
    assert found.left_out == {"rare": 2, "rarer": 1}
    assert (found.rows, found.judged) == (93, 90)
    assert "2 labels have too few rows to be judged" in found.said
    assert "a sample" not in found.said


def test_more_rows_than_are_judged_are_sampled_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, labels = rows_of(60)
    labels[0] = "shipping"
    monkeypatch.setattr(label_errors, "MOST_ROWS", 100)
    read: list[int] = []

    def reading(rows: list[int]) -> Iterable[str]:
        read.extend(rows)
        return (prompts[row] for row in rows)

    found = find(reading, labels, 7)
    assert read == sorted(set(read)) and len(read) == found.judged == 100
    assert all(suspect.row in read for suspect in found.suspects)
    assert "a sample: 180 rows have a label" in found.said
    other = {row for row in range(len(labels)) if row not in read}
    find(reading, labels, 8)
    assert other & set(read[100:])


@pytest.mark.parametrize(
    ("prompts", "labels"),
    [
        ([], []),
        (["a"] * 60, ["one"] * 60),
        (["a", "b"] * 10, ["one", "two"] * 10),
        (["a"] * 60, [str(number) for number in range(60)]),
    ],
)
def test_too_little_to_judge_is_no_verdict(prompts: list[str], labels: list[str]) -> None:
    found = found_in(prompts, labels)
    assert (found.suspects, found.judged) == ([], 0)


def test_prompts_that_say_nothing_are_judged_too() -> None:
    found = found_in(["?", "!", "好", ""] * 20, ["one", "two"] * 40)
    assert found.judged == 80
