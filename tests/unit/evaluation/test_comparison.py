"""Contenders are held against each other on the same examples only."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.evaluation.comparison import differences, paired, score_of, slice_scores
from retune.evaluation.evidence import Evidence
from retune.evaluation.gate import decide
from retune.records import MetricValue, Outcome
from tests.unit.evaluation.builders import SPEC, dataset, outcomes, report
from tests.unit.evaluation.page_builders import answered, labels_of, measured, rich, with_spec

LABELS = labels_of(4)


def outcome(name: str, score: float, **changed: object) -> Outcome:
    values = {
        "id": name,
        "prompt": "p",
        "expected": LABELS[0],
        "answer": "a",
        "predicted": "a",
        "correct": score == 1,
        "latency_s": 0.1,
        "scores": {"accuracy": score},
    }
    return Outcome.model_validate(values | changed)


def test_only_examples_that_both_were_asked_are_paired() -> None:
    mine = [outcome("1", 1), outcome("2", 0), outcome("3", 1)]
    theirs = [outcome("3", 0), outcome("1", 1), outcome("4", 1)]
    assert [(pair.mine.id, pair.gain) for pair in paired(mine, theirs, "accuracy")] == [("1", 0), ("3", 1)]


def test_a_score_that_is_no_number_is_none() -> None:
    assert score_of(outcome("1", float("nan")), "accuracy") is None
    assert score_of(outcome("1", 0.5), "chrf") is None
    assert paired([outcome("1", float("nan"))], [outcome("1", 1)], "accuracy") == []


def test_outcomes_of_old_records_are_right_or_wrong() -> None:
    old = outcome("1", 1, scores={})
    assert score_of(old, "accuracy") == 1.0 and score_of(old, "chrf") is None


def test_a_failed_call_never_speaks_for_the_subject() -> None:
    def failed(name: str) -> Outcome:
        return outcome(name, 0, scores={}, error="timeout")

    mine = [outcome("1", 1), failed("2"), failed("3"), outcome("4", 0)]
    theirs = [failed("1"), outcome("2", 1), failed("3"), failed("4")]
    assert [pair.gain for pair in paired(mine, theirs, "accuracy")] == [0, -1, 0, 0]
    assert [pair.gain for pair in paired(mine, theirs, "accuracy", proof=True)] == [0, -1, -1, -1]
    # Where it is open which is the better one, neither wins by the other's server.
    assert [pair.gain for pair in paired(mine, theirs, "accuracy", proof=True, two_sided=True)] == [0] * 4


@pytest.mark.parametrize(("mine", "theirs"), [(0, 40), (40, 0), (20, 40)])
def test_failed_calls_count_as_in_the_gate(mine: int, theirs: int, tmp_path: Path) -> None:
    found = {
        "candidate": outcomes([True] * 150 + [False] * 50, failed=mine),
        "base": outcomes([True] * 60 + [False] * 140, failed=theirs),
    }
    reports = {name: report(name, rows, tmp_path) for name, rows in found.items()}
    spec = with_spec({"gate": SPEC.gate.model_dump() | {"max_failed": 0.5}})
    decision = decide(spec, dataset(200), reports, found, None, held_out_uses=1, leaked=0)
    (check,) = [check for check in decision.checks if check.name == "beats base"]
    (gain,) = differences(Evidence(spec, reports, found))
    assert (gain.value, gain.low, gain.high, gain.n) == (check.value, check.low, check.high, check.n)


def test_lower_is_better_where_the_metric_says_so() -> None:
    spec = with_spec({"gate": {"metric": "errors", "slices": {"by": ["label"], "min_examples": 10}}})
    found = {
        name: [
            outcome(f"{number}", 0, scores={"errors": score}, expected=LABELS[number % 2])
            for number in range(60)
        ]
        for name, score in (("candidate", 0.1), ("base", 0.8))
    }
    found["candidate"][1] = outcome("1", 0, scores={"errors": 0.0}, expected=LABELS[1], error="timeout")
    figure = {"errors": MetricValue(value=0.1, low=0.0, high=0.2, n=60, higher_is_better=False)}
    evidence = Evidence(
        spec, {name: measured(name, rows, metrics=figure) for name, rows in found.items()}, found
    )
    (gain,) = differences(evidence)
    assert gain.low > 0 and (gain.won, gain.lost) == (59, 1), "an empty answer has no errors, and is none"
    first, second = slice_scores(evidence)
    assert (first.value, second.value) == (LABELS[1], LABELS[0])
    assert second.gain == pytest.approx(0.7) and first.gain == pytest.approx((29 * 0.7 - 0.2) / 30)


def test_the_gain_over_every_other_contender_is_told_with_its_bounds() -> None:
    found = {one.name: one for one in differences(rich(10, 200))}
    assert "candidate" not in found and set(found) >= {"base", "few_shot", "rag", "champion", "previous"}
    base = found["base"]
    assert base.low < base.value < base.high and base.low > 0
    assert base.value == pytest.approx((base.won - base.lost) / base.n)


def test_both_ends_together_are_wider_than_each_by_itself() -> None:
    alone, together = rich(10, 200), rich(10, 200, two_sided=True)
    (one, *_), (other, *_) = differences(alone), differences(together)
    assert other.low < one.low and one.high < other.high


def test_examples_of_one_group_say_less_than_as_many_apart() -> None:
    evidence = rich(10, 200)
    grouped = {
        name: [one.model_copy(update={"group": f"customer {index // 20}"}) for index, one in enumerate(rows)]
        for name, rows in evidence.outcomes.items()
    }
    apart = next(one for one in differences(evidence) if one.name == "base")
    together = next(one for one in differences(rich(10, 200, outcomes=grouped)) if one.name == "base")
    assert together.low < apart.low and together.value == pytest.approx(apart.value)


def test_slices_are_sorted_by_loss_and_small_ones_are_not_judged() -> None:
    mine = [outcome(f"{n}", n % 2, expected=LABELS[0]) for n in range(20)]
    mine += [outcome(f"{n}", 1, expected=LABELS[1]) for n in range(20, 23)]
    theirs = [one.model_copy(update={"scores": {"accuracy": 1.0}}) for one in mine]
    found = {"candidate": mine, "base": theirs}
    spec = with_spec({"gate": {"slices": {"by": ["label"], "min_examples": 10}}})
    evidence = Evidence(spec, {name: measured(name, rows) for name, rows in found.items()}, found)
    parts = slice_scores(evidence)
    assert [(one.value, one.n, one.mine, one.theirs, one.judged) for one in parts] == [
        (LABELS[0], 20, 0.5, 1.0, True),
        (LABELS[1], 3, 1.0, 1.0, False),
    ]


def test_slices_by_a_column_leave_out_examples_without_it() -> None:
    mine = [outcome("1", 1, slices={"language": "de"}), outcome("2", 1)]
    spec = with_spec({"gate": {"slices": {"by": ["language"]}}})
    evidence = Evidence(spec, {"candidate": measured("candidate", mine)}, {"candidate": mine})
    assert [(one.value, one.n, one.theirs) for one in slice_scores(evidence)] == [("de", 1, None)]


def test_guard_sets_are_no_contenders() -> None:
    evidence = rich(10, 100)
    assert [name for name, _ in evidence.other_sets] == ["safety:candidate"]
    assert [name for name, _ in evidence.contenders] == [
        "base",
        "few_shot",
        "rag",
        "previous",
        "champion",
        "candidate",
        "candidate+few_shot",
    ]
    assert evidence.rival == "champion"


def test_a_contender_alone_has_no_rival() -> None:
    mine = answered("one", LABELS, 20, 0.5)
    evidence = Evidence(with_spec({}), {"one": measured("one", mine)}, {"one": mine}, subject="one")
    assert evidence.rival == "" and differences(evidence) == []
