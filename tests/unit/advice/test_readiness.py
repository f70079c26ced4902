"""Should you fine-tune at all: each verdict by the figures that lead to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.advice.budget import Cost
from retune.advice.readiness import advise
from retune.documents import read_document
from retune.errors import DataError, SpecError
from retune.records.advice import Advice
from retune.spec.advice import Advising
from tests.unit.advice.builders import advised, dataset, finding, outcomes, report, right, spec

COST = Cost(title="openai gpt-4.1-mini sft #1", usd=12.0, basis="a guess")


def test_room_over_every_prompt_and_enough_rows_mean_fine_tune() -> None:
    two = spec(evaluation={"endpoint": "vllm", "baselines": ["base", "few_shot"]})
    advice = advised({"base": outcomes(right(0.3)), "few_shot": outcomes(right(0.7))}, by=two)
    assert (advice.verdict, advice.trains) == ("fine_tune", True)
    assert advice.reason == (
        "The best prompt, few_shot, scores 0.700 by accuracy and leaves 0.300; 700 rows to train on, at least"
        " the 50 from which improvements are seen."
    )
    assert finding(advice, "few_shot").low == pytest.approx(0.6)
    assert finding(advice, "few_shot_gain").speaks_for == "fine_tune"
    assert finding(advice, "rag").value is None
    assert finding(advice, "rag").action == "add rag to evaluation.baselines"


def test_a_prompt_that_the_spec_names_and_nobody_answered_is_not_to_be_named_again() -> None:
    advice = advised({})
    assert advice.verdict == "fine_tune"
    for name in ("base", "few_shot", "rag"):
        assert finding(advice, name).action.startswith("see why it was not answered in the log of `advise`")


def test_a_prompt_that_reaches_the_target_is_enough_and_the_cheapest_is_named() -> None:
    measured = {"base": outcomes(right(0.3)), "few_shot": outcomes(right(0.9)), "rag": outcomes(right(0.95))}
    advice = advised(measured, target=0.9)
    assert (advice.verdict, advice.trains) == ("prompt_is_enough", False)
    assert advice.reason == (
        "The base model with examples in the prompt (few_shot) scores 0.900 by accuracy on 100 validation"
        " examples, and advice.target is 0.9."
    )
    assert advised(measured, target=0.91).verdict == "use_rag"
    assert advised(measured, target=0.96).verdict == "combine"


def test_without_a_target_a_prompt_is_enough_where_no_gain_could_ever_be_shown() -> None:
    measured = {"base": outcomes(right(0.3)), "few_shot": outcomes(right(0.97))}
    advice = advised(measured)
    assert advice.verdict == "prompt_is_enough"
    assert "it leaves 0.030, and 240 held-out examples can show a gain of 0.0" in advice.reason
    # A larger held-out set sees what is left.
    assert advised(measured, of=dataset(held_out=2000)).verdict == "fine_tune"


def test_a_base_model_that_the_gates_claim_could_never_pass_is_enough() -> None:
    claims = spec(gate={"beats": {"base": 0.1}})
    assert advised({"base": outcomes(right(0.91))}, by=claims).verdict == "prompt_is_enough"
    assert advised({"base": outcomes(right(0.5))}, by=claims).verdict == "fine_tune"


def test_a_held_out_set_that_sees_no_gain_where_much_is_left_asks_for_more_rows() -> None:
    advice = advised(
        {"base": outcomes(right(0.3)), "few_shot": outcomes(right(0.9))}, of=dataset(held_out=60)
    )
    assert advice.verdict == "collect_more_data"
    assert finding(advice, "few_shot").action == (
        "hold more rows out: with 120 a model without a mistake would be seen to be better"
    )


def test_a_target_that_is_missed_is_not_reached_by_a_small_held_out_set() -> None:
    advice = advised({"few_shot": outcomes(right(0.97))}, target=0.99, of=dataset(held_out=60))
    assert advice.verdict == "collect_more_data"


def test_a_gain_of_documents_alone_is_a_gap_of_knowledge() -> None:
    measured = {"base": outcomes(right(0.4)), "few_shot": outcomes(right(0.42)), "rag": outcomes(right(0.7))}
    advice = advised(measured)
    assert advice.verdict == "use_rag"
    assert advice.reason.startswith("Passages of documents change accuracy by +0.300 (")
    assert finding(advice, "rag_gain").speaks_for == "use_rag"
    assert finding(advice, "few_shot_gain").speaks_for is None


def test_where_examples_help_as_well_both_are_combined() -> None:
    measured = {"base": outcomes(right(0.4)), "few_shot": outcomes(right(0.7)), "rag": outcomes(right(0.7))}
    assert advised(measured).verdict == "combine"
    # Not where there is nothing to train on.
    assert advised(measured, of=dataset(train=20)).verdict == "use_rag"


def test_answers_of_another_form_are_a_gap_that_documents_do_not_fill() -> None:
    base = outcomes(right(0.4))
    rag = [
        one.model_copy(update={"scores": {**one.scores, "valid_label": float(place < 80)}})
        for place, one in enumerate(outcomes(right(0.7)))
    ]
    advice = advised({"base": base, "rag": rag})
    assert advice.verdict == "combine"
    assert advice.reason.endswith("80.0% of the answers of rag have the wanted form, fewer than 95%.")
    assert advised({"base": base, "rag": rag}, by=spec(gate={"valid_format": 0.8})).verdict == "use_rag"


def test_a_gain_of_few_examples_is_not_taken_for_one() -> None:
    measured = {"base": outcomes(right(0.4)), "rag": outcomes(right(0.46))}
    advice = advised(measured)
    assert advice.verdict == "fine_tune"
    assert finding(advice, "rag_gain").sentence.endswith("that they help is not shown.")


def test_examples_of_one_group_count_as_one() -> None:
    alone = {"base": outcomes(right(0.0)), "rag": outcomes(right(0.3))}
    assert advised(alone).verdict == "use_rag"
    together = {name: outcomes(right(share), group="C-1") for name, share in (("base", 0.0), ("rag", 0.3))}
    assert advised(together).verdict == "fine_tune"


def test_too_few_rows_are_collected_first() -> None:
    advice = advised({"few_shot": outcomes(right(0.5))}, of=dataset(train=30))
    assert advice.verdict == "collect_more_data"
    assert advice.reason == "30 rows to train on, fewer than the 50 from which improvements are seen."
    assert finding(advice, "rows").action == "add 20 rows or more"
    few = advised({}, of=dataset(held_out=20))
    assert (few.verdict, finding(few, "held_out_rows").threshold) == ("collect_more_data", 50)


def test_what_nobody_measured_decides_nothing_and_is_told() -> None:
    advice = advised({})
    assert advice.verdict == "fine_tune"
    assert advice.reason.endswith("; no prompt was measured that could be enough.")
    assert [one.what for one in advice.evidence if one.value is None] == ["base", "few_shot", "rag"]


def test_a_prompt_whose_calls_failed_or_that_has_no_score_does_not_count() -> None:
    failed = [one.model_copy(update={"error": "timeout"}) for one in outcomes([1.0] * 2)]
    measured = {
        "base": outcomes([1.0] * 98) + [one.model_copy(update={"id": f"x{one.id}"}) for one in failed],
        "few_shot": [one.model_copy(update={"scores": {}}) for one in outcomes([1.0] * 100)],
        "rag": outcomes([float("nan")] + [1.0] * 99),
    }
    advice = advised(measured)
    assert advice.verdict == "fine_tune"
    assert finding(advice, "base").sentence.endswith("does not count: 2 of 100 calls failed.")
    assert finding(advice, "few_shot").sentence.endswith("100 of 100 answers have no score by accuracy.")
    assert finding(advice, "rag").sentence.endswith("1 of 100 answers have no score by accuracy.")


def test_a_prompt_with_many_errors_is_not_enough_by_a_metric_of_which_less_is_better() -> None:
    found = outcomes([1.0] * 100)
    measured = report("base", found)
    errors = measured.metrics["accuracy"].model_copy(update={"higher_is_better": False})
    measured = measured.model_copy(update={"metrics": {"accuracy": errors}})
    advice = advise(spec(), dataset(), {}, {"base": measured}, {"base": found})
    assert advice.verdict == "fine_tune"
    assert "does not count: less accuracy is better" in finding(advice, "base").sentence


def test_a_failed_call_within_the_limit_helped_nobody() -> None:
    found = outcomes(right(1.0))
    for scores in ({}, {"accuracy": 1.0}):
        found[0] = found[0].model_copy(update={"error": "timeout", "scores": scores})
        assert finding(advised({"base": found}), "base").value == 0.99


def test_reports_of_another_set_or_other_examples_are_refused_together() -> None:
    found = outcomes(right(0.5))
    reports = {
        "base": report("base", found, set_name="held_out"),
        "few_shot": report("few_shot", found, set_digest="sha256:other"),
        "rag": report("rag", found, n=99),
    }
    with pytest.raises(DataError) as refused:
        advise(spec(), dataset(), {}, reports, dict.fromkeys(reports, found))
    assert "base was asked the held-out set, which only the gate may look at" in str(refused.value)
    assert "few_shot was asked sha256:other" in str(refused.value)
    assert "rag has 100 outcomes of 100 examples, and its report is of 99" in str(refused.value)
    with pytest.raises(DataError, match="rag has 100 outcomes of 99 examples, and its report is of 100"):
        advised({"rag": [*found[:99], found[0]]})
    with pytest.raises(DataError, match=r"different examples \(base 100, rag 100\)"):
        advised({"base": found, "rag": [one.model_copy(update={"id": f"x{one.id}"}) for one in found]})


def test_the_price_is_told_with_the_answers_that_earn_it_back() -> None:
    measured = {"base": outcomes(right(0.3)), "few_shot": outcomes(right(0.7))}
    reports = {
        "base": report("base", measured["base"], cost_per_1000_usd=0.1),
        "few_shot": report("few_shot", measured["few_shot"], cost_per_1000_usd=0.5),
    }
    advice = advise(spec(), dataset(), {}, reports, measured, [COST])
    assert advice.price_usd == 12.0
    assert finding(advice, "price").sentence == (
        "Training costs 12.00 USD. Without examples in the prompt a thousand answers cost 0.40 USD less,"
        " which pays for it after 30,000 answers, if a tuned model's tokens cost the same."
    )
    unknown = advised(measured, costs=[COST, Cost(title="vertex", usd=None, basis="no price")])
    assert (unknown.price_usd, finding(unknown, "price").value) == (None, None)
    assert finding(unknown, "price").sentence == "Nobody knows what vertex would cost."


def test_an_open_ended_task_is_warned_of() -> None:
    texts = spec(task={"kind": "generation"})
    found = [
        one.model_copy(update={"expected": f"text {place}"}) for place, one in enumerate(outcomes(right(0.2)))
    ]
    advice = advised({"base": found}, by=texts)
    assert advice.verdict == "fine_tune"
    assert finding(advice, "open_ended").action.startswith("set gate.forgetting")
    assert finding(advised({"base": outcomes(right(0.2))}, by=texts), "open_ended").action == ""


def test_the_record_survives_its_json() -> None:
    advice = advised({"base": outcomes(right(0.3))}, costs=[COST])
    assert Advice.from_json(advice.to_json()) == advice


flags = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60
)


@settings(max_examples=40, deadline=None)
@given(
    rows=flags,
    target=st.none() | st.sampled_from([0.5, 0.9, 1.0]),
    claim=st.sampled_from([0.0, 0.05, 0.3]),
    held_out=st.sampled_from([60, 240]),
)
def test_a_better_few_shot_never_turns_a_prompt_that_is_enough_into_a_training(
    rows: list[tuple[bool, bool, bool, bool]], target: float | None, claim: float, held_out: int
) -> None:
    by, of = spec(gate={"beats": {"base": claim}}), dataset(held_out=held_out)
    base, few_shot, rag = (outcomes([float(row[place]) for row in rows]) for place in range(3))
    better = outcomes([float(row[1] or row[3]) for row in rows])
    before, after = (
        advised({"base": base, "few_shot": one, "rag": rag}, by=by, of=of, target=target)
        for one in (few_shot, better)
    )
    if before.verdict == "prompt_is_enough":
        assert after.verdict == "prompt_is_enough"


@settings(max_examples=40, deadline=None)
@given(rows=flags, train=st.integers(1, 100), held_out=st.integers(1, 100), more=st.integers(0, 100))
def test_more_rows_to_train_on_never_stop_a_training(
    rows: list[tuple[bool, bool, bool, bool]], train: int, held_out: int, more: int
) -> None:
    measured = {
        name: outcomes([float(row[place]) for row in rows])
        for place, name in enumerate(("base", "few_shot", "rag"))
    }
    before, after = (
        advised(measured, of=dataset(train=count, held_out=held_out)) for count in (train, train + more)
    )
    assert after.trains >= before.trains


def test_the_section_is_read_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "advice.yaml"
    file.write_text("mode: off\ntarget: 0.9\n")
    assert read_document(file, Advising) == Advising(mode="off", target=0.9)
    file.write_text("target: 1.5\nmode: on\n")
    with pytest.raises(SpecError, match=r"(?s)advice.yaml:1: target.*advice.yaml:2: mode"):
        read_document(file, Advising)
