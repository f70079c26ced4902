"""A broken part vetoes however good the whole is; chance on many small parts does not."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.records import Check, Outcome, Verdict
from tests.unit.evaluation.gate.builders import answers, check, judge, outcome, spec

LIVE = "digest of champion"
BY_LABEL = spec({"slices": {"by": ["label"]}})


def sliced(parts: dict[str, list[float]], **changed: str) -> list[Outcome]:
    """Outcomes by expected label."""
    flat = [(label, score) for label, scores in parts.items() for score in scores]
    return [outcome(at, score, expected=label, **changed) for at, (label, score) in enumerate(flat)]


def guard(
    mine: list[Outcome], theirs: list[Outcome], rules: object = BY_LABEL, column: str = "label"
) -> Check:
    """Return the check of a slice column, against base."""
    found = check(judge(rules, {"candidate": mine, "base": theirs}), f"slices by {column}")  # type: ignore[arg-type]
    assert found.kind == "guard"
    return found


def test_a_broken_slice_vetoes_by_name() -> None:
    fine = {f"intent {number}": [1.0] * 20 for number in range(10)}
    found = guard(sliced(fine | {"intent 3": [0.0] * 20}), sliced(fine))
    assert found.verdict is Verdict.REJECT
    assert (found.value, found.n, found.threshold) == (-1.0, 20, -0.1)
    assert "label = intent 3: -100.0 points against base on 20 examples" in found.sentence
    assert "Holm over 10 slices" in found.method
    assert found.beside["adjusted_p"] == pytest.approx(10 * 0.5**20)


@settings(max_examples=8)
@given(right=st.integers(16, 20), seed=st.integers(0, 10_000))
def test_among_77_slices_a_broken_one_is_always_found(right: int, seed: int) -> None:
    random = Random(seed)

    def noisy() -> list[float]:
        return [float(random.random() < 0.85) for _ in range(20)]

    names = [f"intent {number}" for number in range(76)]
    mine, theirs = ({name: noisy() for name in names} for _ in range(2))
    mine["broken"], theirs["broken"] = [0.0] * 20, [1.0] * right + [0.0] * (20 - right)
    found = guard(sliced(mine), sliced(theirs))
    assert found.verdict is Verdict.REJECT
    assert "broken" in found.sentence


def test_several_broken_slices_are_all_named_up_to_a_point() -> None:
    fine = {f"intent {number}": [1.0] * 30 for number in range(8)}
    bad = {f"intent {number}": [0.0] * 30 for number in range(6)}
    sentence = guard(sliced(fine | bad), sliced(fine)).sentence
    assert "label = intent 0" in sentence
    assert "Also: intent 1, intent 2, intent 3 and 2 more." in sentence


def test_a_loss_that_chance_explains_does_not_veto() -> None:
    fine = {f"intent {number}": [1.0] * 20 for number in range(10)}
    found = guard(sliced(fine | {"intent 3": [1.0] * 15 + [0.0] * 5}), sliced(fine))
    assert found.verdict is Verdict.PROMOTE
    assert "The worst is label = intent 3: -25.0 points" in found.sentence
    # 10 slices at 0.05: eight losses in a row have a p-value of 10 / 256.
    assert "Losing 8 examples and winning none would show it." in found.sentence


def test_a_shown_loss_within_what_is_allowed_does_not_veto() -> None:
    fine = {"billing": [1.0] * 400}
    found = guard(sliced({"billing": [0.0] * 30 + [1.0] * 370}), sliced(fine))
    assert found.beside["adjusted_p"] < 0.001
    assert found.verdict is Verdict.PROMOTE


def test_small_slices_are_shown_and_not_judged() -> None:
    fine = {"billing": [1.0] * 100, "rare": [1.0] * 9}
    found = guard(sliced(fine | {"rare": [0.0] * 9}), sliced(fine))
    assert found.verdict is Verdict.PROMOTE
    assert found.sentence.endswith("1 slice of fewer than 10 examples: not judged.")
    tiny = guard(sliced({name: [0.0] * 9 for name in "abcdefgh"}), sliced({n: [1.0] * 9 for n in "abcdefgh"}))
    assert tiny.verdict is Verdict.PROMOTE and tiny.value is None
    assert tiny.sentence.startswith("No slice has the 10 examples that it takes to be judged.")


def test_slices_too_small_to_show_harm_are_said_to_be() -> None:
    parts = {f"intent {number}": [1.0] * 10 for number in range(77)}
    sentence = guard(sliced(parts), sliced(parts)).sentence
    assert "Losing 11 examples and winning none would show it; too small for that: 77 slices." in sentence


def test_slices_are_held_against_what_serves() -> None:
    good, bad = [1.0] * 100, [0.0] * 100
    mine = sliced({"billing": good, "shipping": bad})
    found = {
        "candidate": mine,
        "base": sliced({"billing": bad, "shipping": bad}),
        "champion": sliced({"billing": bad, "shipping": good}),
    }
    first, refresh = judge(BY_LABEL, found), judge(BY_LABEL, found, LIVE)
    assert check(first, "slices by label").verdict is Verdict.PROMOTE
    assert check(refresh, "slices by label").verdict is Verdict.REJECT
    assert "against champion" in check(refresh, "slices by label").sentence
    without = judge(BY_LABEL, {key: found[key] for key in ("candidate", "base")}, LIVE)
    assert check(without, "slices by label").verdict is Verdict.INCONCLUSIVE


def test_columns_of_rows_are_judged_in_one_family() -> None:
    rules = spec({"slices": {"by": ["label", "region"]}})

    def rows(scores: list[float]) -> list[Outcome]:
        places = ("north", "south")
        return [row.model_copy(update={"slices": {"region": places[at % 2]}})
                for at, row in enumerate(answers(*scores))]  # fmt: skip

    mine, theirs = rows([1.0, 0.0] * 50), rows([1.0] * 100)
    found = guard(mine, theirs, rules, "region")
    assert found.verdict is Verdict.REJECT and "region = south" in found.sentence
    assert "Holm over 3 slices" in found.method


@pytest.mark.parametrize("missing", [1, 200])
def test_a_column_that_examples_lack_is_not_settled(missing: int) -> None:
    rules = spec({"slices": {"by": ["region"]}})
    rows = [
        row.model_copy(update={"slices": {"region": "north"} if at >= missing else {}})
        for at, row in enumerate(answers((200, 1)))
    ]
    decision = judge(rules, {"candidate": rows, "base": answers((200, 0))})
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "Not every held-out example has a value of region" in decision.reason


def test_groups_count_once_in_slices_too() -> None:
    fine = {"billing": [1.0] * 20, "shipping": [1.0] * 100}
    alone = guard(sliced(fine | {"billing": [0.0] * 20}), sliced(fine))
    mine = [
        row.model_copy(update={"group": f"customer {at // 20}"})
        for at, row in enumerate(sliced(fine | {"billing": [0.0] * 20}))
    ]
    together = guard(mine, sliced(fine))
    assert (alone.verdict, together.verdict) == (Verdict.REJECT, Verdict.PROMOTE)
    assert (
        "Losing 6 groups and winning none would show it; too small for that: 2 slices." in together.sentence
    )


@pytest.mark.parametrize(("slices", "confidence"), [(77, 0.995), (11, 0.999)])
def test_graded_scores_hide_no_broken_slice_at_a_high_confidence(slices: int, confidence: float) -> None:
    rules = spec({"confidence": confidence, "slices": {"by": ["label"]}})
    fine = {f"intent {number}": [0.9] * 20 for number in range(slices)}
    lost = {"intent 3": [number / 100 for number in range(20)]}
    found = guard(sliced(fine | lost), sliced(fine), rules)
    assert found.verdict is Verdict.REJECT
    assert "label = intent 3" in found.sentence


def test_what_the_rival_did_not_answer_is_no_evidence_of_harm() -> None:
    rules = spec({"max_failed": 0.2, "slices": {"by": ["label"]}})
    wrong = sliced({"billing": [0.0] * 20, "shipping": [1.0] * 180})
    theirs = [one.model_copy(update={"error": "timeout"}) if at < 20 else one for at, one in enumerate(wrong)]
    assert guard(wrong, theirs, rules).value == 0
