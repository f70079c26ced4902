"""What is missing, broken, leaked or used up never promotes."""

from __future__ import annotations

from typing import Any

import pytest

from retune.evaluation.gate import decide
from retune.records import Decision, MetricValue, Verdict
from tests.unit.evaluation.gate.builders import (
    answers,
    check,
    dataset,
    failing,
    judge,
    outcome,
    reports_of,
    spec,
)

GOOD, BAD = answers((190, 1), (10, 0)), answers((20, 1), (180, 0))
FOUND = {"candidate": GOOD, "base": BAD}
LIVE = "digest of champion"


def unsettled(decision: Decision, name: str) -> str:
    """Return the sentence of the precondition that keeps a clear gain from being promoted."""
    assert decision.verdict is Verdict.INCONCLUSIVE
    found = check(decision, name)
    assert (found.kind, found.verdict) == ("precondition", Verdict.INCONCLUSIVE)
    assert found.sentence in decision.reason
    return found.sentence


def test_the_same_evidence_without_a_flaw_is_promoted() -> None:
    assert judge(spec(), FOUND, held_out_uses=1).verdict is Verdict.PROMOTE


def test_thirty_examples_promote_nothing_and_ask_for_the_rest() -> None:
    decision = judge(spec(), {"candidate": answers((30, 1)), "base": answers((30, 0))})
    assert "30 examples, fewer than the 50" in unsettled(decision, "enough examples")
    assert decision.advice.startswith("Collect more data: 20 more held-out examples")
    just_enough = judge(spec(), {"candidate": answers((50, 1)), "base": answers((50, 0))})
    assert just_enough.verdict is Verdict.PROMOTE


def test_failed_calls_promote_nothing() -> None:
    for flawed in ({"base": failing(BAD, 3)}, {"candidate": failing(GOOD, 3)}):
        (who,) = flawed
        assert "3 of 200 calls" in unsettled(judge(spec(), FOUND | flawed), f"answers of {who}")
    assert judge(spec(), FOUND | {"base": failing(BAD, 2)}).verdict is Verdict.PROMOTE


def test_evidence_that_cannot_be_trusted_speaks_not_against_a_candidate_either() -> None:
    beaten = {"candidate": BAD, "base": GOOD}
    assert judge(spec(), beaten).verdict is Verdict.REJECT
    failed = judge(spec(), {"candidate": failing(GOOD, 120), "base": GOOD})
    assert "120 of 200 calls" in unsettled(failed, "answers of candidate")
    assert check(failed, "beats base").verdict is Verdict.REJECT
    assert "also stand on the training side" in unsettled(judge(spec(), beaten, leaked=50), "no leaked rows")
    few = judge(spec(), {"candidate": answers((40, 0)), "base": answers((40, 1))})
    assert "40 examples, fewer than the 50" in unsettled(few, "enough examples")
    assert few.advice == "", "more rows would not help it"


def test_failures_that_a_report_does_not_count_are_counted() -> None:
    decision = judge(spec(), FOUND | {"base": failing(BAD, 3)}, changed={"base": {"failed": 0}})
    assert "3 of 200 calls" in unsettled(decision, "answers of base")


def test_contenders_that_nothing_is_claimed_of_stop_nothing() -> None:
    looked_at = {"rag": failing(BAD, 200), "few_shot": BAD[:50], "candidate+few_shot": BAD}
    assert judge(spec(), FOUND | looked_at).verdict is Verdict.PROMOTE


@pytest.mark.parametrize("who", ["candidate", "base"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_metric_that_is_no_share_promotes_nothing(who: str, value: float) -> None:
    metric = MetricValue(value=value, low=0, high=1, n=200)
    decision = judge(spec(), FOUND, changed={who: {"metrics": {"accuracy": metric}}})
    assert f"{who} has {value} of accuracy" in unsettled(decision, f"evidence of {who}")


@pytest.mark.parametrize("who", ["candidate", "base"])
@pytest.mark.parametrize("score", [None, float("nan"), -0.5, 2.0])
def test_one_answer_without_a_score_promotes_nothing(who: str, score: float | None) -> None:
    scores = {} if score is None else {"accuracy": score}
    flawed = [FOUND[who][0].model_copy(update={"scores": scores}), *FOUND[who][1:]]
    sentence = unsettled(judge(spec(), FOUND | {who: flawed}), f"evidence of {who}")
    assert "1 of the 200 answers" in sentence


def test_a_metric_that_nobody_measured_promotes_nothing() -> None:
    decision = judge(spec({"metric": "chrf"}), FOUND)
    assert "base has no value of chrf." in unsettled(decision, "evidence of base")
    assert [one.verdict for one in decision.checks if one.kind == "claim"] == [Verdict.INCONCLUSIVE]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"set_digest": "sha256:other"}, "another set than this dataset's"),
        ({"set_name": "validation"}, "another set than this dataset's"),
        ({"n": 199}, "base has 200 outcomes for 200 held-out examples"),
    ],
)
def test_another_set_promotes_nothing(changed: dict[str, Any], sentence: str) -> None:
    assert sentence in unsettled(judge(spec(), FOUND, changed={"base": changed}), "evidence of base")


def test_other_examples_promote_nothing() -> None:
    fewer, twice = BAD[:199], [*BAD[:199], BAD[0]]
    another = [*BAD[:199], outcome(999, 0)]
    sentences = [unsettled(judge(spec(), FOUND | {"base": rows}), "evidence of base") for rows in (
        fewer, twice, another, []
    )]  # fmt: skip
    assert "199 outcomes for 200" in sentences[0] and "not asked the same" in sentences[0]
    assert sentences[1:] == [
        "base answered some examples twice.",
        "candidate and base were not asked the same examples.",
        "The evaluation of base has no outcome.",
    ]


def test_a_missing_or_another_champion_is_never_promoted_over() -> None:
    absent = judge(spec(), FOUND, LIVE)
    other = judge(spec(), FOUND | {"champion": BAD}, "digest of another")
    assert absent.reason == "There is no evaluation of champion."
    assert "is not digest of another, which is released" in unsettled(other, "evidence of champion")
    assert judge(spec(), FOUND | {"champion": BAD}, LIVE).verdict is Verdict.PROMOTE


def test_the_champion_itself_is_not_released_again() -> None:
    same = {who: {"contender": reports_of(FOUND)["candidate"].contender} for who in ("candidate",)}
    decision = judge(spec(), FOUND | {"champion": BAD}, "digest of candidate", changed=same)
    assert "the very model that serves" in unsettled(decision, "a new model")


def test_leaked_rows_are_no_evidence() -> None:
    decision = judge(spec(), FOUND, leaked=7)
    assert "7 of the 200 held-out examples" in unsettled(decision, "no leaked rows")


def test_a_set_used_too_often_asks_for_a_fresh_one() -> None:
    rules = spec({"fresh_after": 3})
    last, beyond = (judge(rules, FOUND, held_out_uses=uses) for uses in (3, 4))
    assert last.verdict is Verdict.PROMOTE
    assert check(last, "a fresh held-out set").sentence == "This is use 3 of the held-out set; 3 are allowed."
    assert "Hold out fresh rows" in unsettled(beyond, "a fresh held-out set")
    assert (last.held_out_uses, beyond.held_out_uses) == (3, 4)


@pytest.mark.parametrize("uses", [0, -1])
def test_a_set_whose_use_nobody_noted_promotes_nothing(uses: int) -> None:
    sentence = unsettled(judge(spec(), FOUND, held_out_uses=uses), "a fresh held-out set")
    assert sentence.startswith("No use of the held-out set was noted, so that nobody can say how often")


def test_a_gate_that_claims_nothing_promotes_nothing() -> None:
    nothing = spec({"beats": {"base": None}})
    assert "set gate.beats" in unsettled(judge(nothing, FOUND), "something to prove")


def test_groups_that_the_spec_asks_for_must_be_known() -> None:
    data = {
        "sources": ["rows.jsonl"],
        "columns": {"prompt": "text", "completion": "queue"},
        "split": {"group_by": "customer"},
    }
    assert "which customer it belongs to" in unsettled(judge(spec(data=data), FOUND), "evidence of base")


def test_noise_is_said_and_stops_nothing() -> None:
    noise = MetricValue(value=0.1, low=0.02, high=0.26, n=30)
    decision = judge(spec(), FOUND, changed={"candidate": {"noise": noise}})
    assert decision.verdict is Verdict.PROMOTE
    said = check(decision, "run-to-run noise")
    assert said.sentence.startswith("Asked again, 10.0% [2.0%, 26.0%] of 30 examples got another score")


def test_no_candidate_is_an_error() -> None:
    with pytest.raises(KeyError):
        decide(
            spec(), dataset(200), reports_of({"base": BAD}), {"base": BAD}, None, held_out_uses=1, leaked=0
        )
