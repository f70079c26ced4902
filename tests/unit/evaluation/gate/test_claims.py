"""What the spec claims is proven, or it does not count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.records import MetricValue, Verdict
from tests.unit.evaluation.gate.builders import answers, check, failing, judge, spec

PLAIN = spec({"beats": {"base": 0.05}, "not_worse_than": {"champion": 0.02}})
LIVE = "digest of champion"


def test_a_clear_gain_is_promoted_with_its_numbers() -> None:
    decision = judge(PLAIN, {"candidate": answers((180, 1), (20, 0)), "base": answers((40, 1), (160, 0))})
    assert decision.verdict is Verdict.PROMOTE
    claim = check(decision, "beats base")
    assert (claim.kind, claim.n, claim.threshold, claim.needed) == ("claim", 200, 0.05, None)
    assert claim.value == pytest.approx(0.7)
    assert claim.low is not None and claim.high is not None and 0.05 < claim.low < 0.7 < claim.high
    assert "Waudby-Smith and Ramdas" in claim.method
    assert "+70.0 points of accuracy" in decision.reason and "shown to gain more than 5.0" in decision.reason
    assert decision.advice == ""


def test_a_worse_candidate_is_rejected() -> None:
    decision = judge(PLAIN, {"candidate": answers((60, 1), (140, 0)), "base": answers((160, 1), (40, 0))})
    assert decision.verdict is Verdict.REJECT
    assert "shown not to gain more than 5.0" in decision.reason


def test_a_small_gain_is_not_settled_and_says_what_would_settle_it() -> None:
    decision = judge(PLAIN, {"candidate": answers((120, 1), (80, 0)), "base": answers((100, 1), (100, 0))})
    assert decision.verdict is Verdict.INCONCLUSIVE
    claim = check(decision, "beats base")
    assert claim.needed is not None and claim.needed > 0
    assert "n = 200 can see" in claim.sentence
    assert f"{claim.needed:,} more examples would likely settle it." in claim.sentence


@pytest.mark.parametrize("right", [0, 100, 400])
def test_a_tie_is_not_a_win(right: int) -> None:
    same = answers((right, 1), (400 - right, 0))
    decision = judge(spec(), {"candidate": same, "base": same})
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert check(decision, "beats base").value == 0


def test_a_gain_of_just_what_is_asked_is_no_promotion() -> None:
    half = spec({"beats": {"base": 0.5}})
    decision = judge(half, {"candidate": answers((1000, 1)), "base": answers((500, 1), (500, 0))})
    assert decision.verdict is Verdict.INCONCLUSIVE


def test_a_refresh_need_not_win_but_must_not_lose() -> None:
    rules = spec({"not_worse_than": {"champion": 0.05}})
    base, champion = answers((50, 1), (350, 0)), answers((360, 1), (40, 0))
    verdicts = [
        judge(rules, {"candidate": answers(*mine), "base": base, "champion": champion}, LIVE).verdict
        for mine in ([(360, 1), (40, 0)], [(300, 1), (100, 0)], [(350, 1), (50, 0)])
    ]
    assert verdicts == [Verdict.PROMOTE, Verdict.REJECT, Verdict.INCONCLUSIVE]


def test_a_first_release_has_no_champion_to_hold_against() -> None:
    found = {"candidate": answers((190, 1), (10, 0)), "base": answers((20, 1), (180, 0))}
    decision = judge(PLAIN, found)
    assert decision.verdict is Verdict.PROMOTE
    assert [one.name for one in decision.checks if one.kind == "claim"] == ["beats base"]


def test_every_claim_must_be_proven() -> None:
    rules = spec({"beats": {"base": 0.0, "few_shot": 0.0, "rag": 0.0}})
    good, bad = answers((190, 1), (10, 0)), answers((20, 1), (180, 0))
    promoted = judge(rules, {"candidate": good, "base": bad, "few_shot": bad, "rag": bad})
    equalled = judge(rules, {"candidate": good, "base": bad, "few_shot": bad, "rag": good})
    missing = judge(rules, {"candidate": good, "base": bad, "few_shot": bad})
    verdicts = [one.verdict for one in (promoted, equalled, missing)]
    assert verdicts == [Verdict.PROMOTE, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert missing.reason == "There is no evaluation of rag."


def test_the_release_before_is_held_against_where_there_is_one() -> None:
    rules = spec({"not_worse_than": {"previous": 0.05, "champion": None}})
    good, bad = answers((390, 1), (10, 0)), answers((20, 1), (380, 0))
    found = {"candidate": good, "base": bad}
    assert judge(rules, found).verdict is Verdict.PROMOTE
    unasked = judge(rules, found, LIVE, previous_digest="digest of previous")
    asked = judge(rules, found | {"previous": good}, LIVE, previous_digest="digest of previous")
    other = judge(rules, found | {"previous": good}, LIVE, previous_digest="another")
    verdicts = [one.verdict for one in (unasked, asked, other)]
    assert verdicts == [Verdict.INCONCLUSIVE, Verdict.PROMOTE, Verdict.INCONCLUSIVE]


def test_classical_figures_stand_beside_and_fit_what_they_are_for() -> None:
    mine, base = answers((180, 1), (20, 0)), answers((150, 1), (50, 0))
    plain = check(judge(PLAIN, {"candidate": mine, "base": base}), "beats base").beside
    assert plain["mcnemar_p"] == pytest.approx(2 * 0.5**30)
    assert plain["bootstrap_low"] < 0.15 < plain["bootstrap_high"]
    grouped = [row.model_copy(update={"group": f"customer {at // 4}"}) for at, row in enumerate(mine)]
    beside = check(judge(PLAIN, {"candidate": grouped, "base": base}), "beats base").beside
    assert set(beside) == {"bootstrap_low", "bootstrap_high"}
    graded = check(judge(PLAIN, {"candidate": answers((200, 0.7)), "base": base}), "beats base").beside
    assert "mcnemar_p" not in graded


def test_examples_of_one_group_count_as_one_piece_of_evidence() -> None:
    mine, base = answers((130, 1), (70, 0)), answers((100, 1), (100, 0))
    grouped = [row.model_copy(update={"group": f"customer {at // 10}"}) for at, row in enumerate(mine)]
    alone = judge(spec(), {"candidate": mine, "base": base})
    together = judge(spec(), {"candidate": grouped, "base": base})
    assert alone.verdict is Verdict.PROMOTE
    assert together.verdict is Verdict.INCONCLUSIVE
    assert check(together, "beats base").method.endswith("by group")


def test_a_failed_call_never_speaks_for_the_candidate() -> None:
    rules = spec({"max_failed": 0.2})
    all_right = answers((200, 1))
    rival_failed = judge(rules, {"candidate": all_right, "base": failing(all_right, 30)})
    mine_failed = judge(rules, {"candidate": failing(all_right, 30), "base": all_right})
    assert check(rival_failed, "beats base").value == 0
    assert check(mine_failed, "beats base").value == pytest.approx(-0.15)
    assert mine_failed.verdict is Verdict.REJECT


def test_a_metric_of_which_less_is_better_is_turned() -> None:
    found = {"candidate": answers((200, 0.1)), "base": answers((200, 0.9))}
    metric = MetricValue(value=0.5, low=0, high=1, n=200, higher_is_better=False)
    turned = {name: {"metrics": {"accuracy": metric}} for name in found}
    decision = judge(spec(), found, changed=turned)
    assert decision.verdict is Verdict.PROMOTE
    assert check(decision, "beats base").value == pytest.approx(0.8)
    assert "+80.0 points of accuracy, of which less is better, [" in decision.reason
    half = judge(spec(), found, changed={"base": turned["base"]})
    assert half.verdict is Verdict.INCONCLUSIVE
    assert "disagree whether a higher accuracy is better" in half.reason


def test_more_examples_that_would_speak_against_the_candidate_are_said_to() -> None:
    decision = judge(PLAIN, {"candidate": answers((104, 1), (96, 0)), "base": answers((100, 1), (100, 0))})
    claim = check(decision, "beats base")
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert "more examples would likely settle it, against the candidate." in claim.sentence
    assert decision.advice == ""


@settings(max_examples=30)
@given(
    counts=st.dictionaries(
        st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 0.5, 1])), st.integers(1, 60), min_size=2
    ).filter(lambda found: sum(found.values()) >= 50)
)
def test_of_two_contenders_at_most_one_beats_the_other(counts: dict[tuple[float, float], int]) -> None:
    one, other = (answers(*((count, pair[side]) for pair, count in counts.items())) for side in (0, 1))
    there = judge(spec(), {"candidate": one, "base": other})
    back = judge(spec(), {"candidate": other, "base": one})
    mirrored = {Verdict.PROMOTE: Verdict.REJECT, Verdict.REJECT: Verdict.PROMOTE}
    assert back.verdict is mirrored.get(there.verdict, Verdict.INCONCLUSIVE)
    if there.verdict is Verdict.PROMOTE:
        assert sum(count * (mine - theirs) for (mine, theirs), count in counts.items()) > 0


@pytest.mark.parametrize("rule", ["beats", "not_worse_than"])
def test_a_call_of_the_rival_that_fails_never_helps_the_candidate(rule: str) -> None:
    rules = spec({"beats": {"base": None}, rule: {"base": 0.03}, "max_failed": 0.2})
    mine, base = answers((20, 0), (480, 1)), answers((500, 1))
    for count in (0, 20, 40):
        decision = judge(rules, {"candidate": mine, "base": failing(base, count)})
        found = check(decision, f"{rule} base")
        # As ties they would hide that the candidate lost just these.
        assert found.value == pytest.approx(-0.04)
        assert found.verdict is not Verdict.PROMOTE


def test_a_call_that_fails_on_both_sides_proves_nothing() -> None:
    rules = spec({"max_failed": 0.2})
    same = failing(answers((500, 1)), 50)
    decision = judge(rules, {"candidate": same, "base": same})
    assert check(decision, "beats base").value == pytest.approx(-0.1)
