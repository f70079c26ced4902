"""What the decision advises instead."""

from __future__ import annotations

from typing import Any

import pytest

from retune.records import Verdict
from tests.unit.evaluation.gate.builders import answers, failing, judge, spec

GOOD, MIDDLE, BAD = answers((190, 1), (10, 0)), answers((140, 1), (60, 0)), answers((20, 1), (180, 0))
BOTH = spec({"beats": {"base": 0.05, "few_shot": 0.02}})


def test_a_better_prompt_is_enough_where_the_candidate_does_not_beat_it() -> None:
    decision = judge(BOTH, {"candidate": GOOD, "base": BAD, "few_shot": GOOD})
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.advice.startswith("A better prompt is enough: ship few_shot")
    assert "+85.0 points" in decision.advice and "more than 2.0" in decision.advice
    assert decision.candidate.name == "candidate"


def test_a_rejected_candidate_leaves_the_prompt_as_advice() -> None:
    decision = judge(spec(), {"candidate": BAD, "base": MIDDLE, "rag": GOOD})
    assert decision.verdict is Verdict.REJECT
    assert decision.advice.startswith("A better prompt is enough: ship rag")


def test_the_better_of_two_prompts_is_advised() -> None:
    for few_shot, rag, best in ((GOOD, MIDDLE, "few_shot"), (MIDDLE, GOOD, "rag")):
        decision = judge(BOTH, {"candidate": MIDDLE, "base": BAD, "few_shot": few_shot, "rag": rag})
        assert decision.advice.startswith(f"A better prompt is enough: ship {best}")


def test_a_prompt_that_the_candidate_beats_is_not_advised() -> None:
    decision = judge(spec({"latency_p95_ms": 9}), {"candidate": GOOD, "base": BAD, "few_shot": MIDDLE})
    assert (decision.verdict, decision.advice) == (Verdict.INCONCLUSIVE, "")


def test_a_prompt_that_is_not_shown_to_beat_base_is_not_advised() -> None:
    decision = judge(spec(), {"candidate": MIDDLE, "base": MIDDLE, "few_shot": MIDDLE})
    assert (decision.verdict, decision.advice) == (Verdict.INCONCLUSIVE, "")


def test_a_promotion_comes_without_advice() -> None:
    decision = judge(spec(), {"candidate": GOOD, "base": BAD, "few_shot": GOOD})
    assert (decision.verdict, decision.advice) == (Verdict.PROMOTE, "")


@pytest.mark.parametrize("known", [{"leaked": 1}, {"held_out_uses": 21}])
def test_a_set_that_is_no_evidence_speaks_for_no_prompt(known: dict[str, Any]) -> None:
    decision = judge(BOTH, {"candidate": GOOD, "base": BAD, "few_shot": GOOD}, **known)
    assert (decision.verdict, decision.advice) == (Verdict.INCONCLUSIVE, "")


def test_a_prompt_whose_calls_failed_is_not_advised() -> None:
    found = {"candidate": MIDDLE, "base": BAD, "few_shot": failing(GOOD, 20)}
    assert judge(BOTH, found).advice == ""


def test_a_missing_champion_does_not_hide_that_a_prompt_is_enough() -> None:
    decision = judge(BOTH, {"candidate": GOOD, "base": BAD, "few_shot": GOOD}, "digest of champion")
    assert decision.advice.startswith("A better prompt is enough")


def test_more_data_is_advised_where_only_examples_are_missing() -> None:
    found = {"candidate": answers((120, 1), (80, 0)), "base": answers((104, 1), (96, 0))}
    decision = judge(spec({"beats": {"base": 0.05}}), found)
    (claim,) = [check for check in decision.checks if check.kind == "claim"]
    assert claim.needed and decision.advice.startswith(
        f"Collect more data: {claim.needed:,} more held-out examples would likely settle it"
    )
    assert f"about {5 * claim.needed:,} rows at 20% held out" in decision.advice
    waiting = judge(spec({"beats": {"base": 0.05}, "latency_p95_ms": 800}), found)
    assert (waiting.verdict, waiting.advice) == (Verdict.INCONCLUSIVE, "")
