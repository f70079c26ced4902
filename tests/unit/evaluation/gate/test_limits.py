"""Latency, cost and form: a limit is kept, shown to be broken, or open."""

from __future__ import annotations

from typing import Any

import pytest

from retune.records import Check, Latency, Verdict
from tests.unit.evaluation.gate.builders import answers, check, failing, judge, outcome, spec

GOOD, BAD = answers((190, 1), (10, 0)), answers((20, 1), (180, 0))
TASKS: dict[str, dict[str, Any]] = {
    "valid_label": {"kind": "classification"},
    "rules": {"kind": "generation"},
    "valid_json": {"kind": "extraction"},
}


def guard(rule: dict[str, Any], name: str, **changed: Any) -> Check:
    """Return a guard's check on a candidate whose gain is clear, its verdict being the decision's."""
    decision = judge(spec(rule), {"candidate": GOOD, "base": BAD}, changed={"candidate": changed})
    found = check(decision, name)
    assert found.kind == "guard" and decision.verdict is found.verdict
    return found


def latency(p95: float, low: float, high: float, concurrency: int = 1, n: int = 200) -> Latency:
    """A measurement in milliseconds."""
    return Latency(
        concurrency=concurrency,
        n=n,
        p50_s=p95 / 2000,
        p95_s=p95 / 1000,
        p95_low_s=low / 1000,
        p95_high_s=high / 1000,
    )


@pytest.mark.parametrize(
    ("measured", "verdict", "said"),
    [
        (latency(500, 450, 700), Verdict.PROMOTE, "800 are allowed."),
        (latency(700, 600, 900), Verdict.PROMOTE, "that it keeps to them is not shown."),
        (latency(700, 600, float("inf")), Verdict.PROMOTE, "that it keeps to them is not shown."),
        (latency(800, 700, 800), Verdict.PROMOTE, "800 are allowed."),
        (latency(850, 790, 990), Verdict.INCONCLUSIVE, "Raise evaluation.latency.requests."),
        (latency(990, 800, 1200), Verdict.INCONCLUSIVE, "slower as measured, but not shown."),
        (latency(990, 801, 1200), Verdict.REJECT, "shown to be slower."),
        (latency(500, 450, 700, concurrency=4), Verdict.INCONCLUSIVE, "the spec says 1."),
        (latency(float("nan"), 1, 2), Verdict.INCONCLUSIVE, "is no number"),
        (latency(500, 450, 700, n=0), Verdict.INCONCLUSIVE, "is no number"),
        (None, Verdict.INCONCLUSIVE, "was not measured by itself"),
    ],
)
def test_latency_is_held_against_its_limit(measured: Latency | None, verdict: Verdict, said: str) -> None:
    found = guard({"latency_p95_ms": 800}, "latency p95", latency=measured)
    assert found.verdict is verdict
    assert said in found.sentence


def test_the_bulk_runs_latency_never_counts() -> None:
    found = guard({"latency_p95_ms": 800}, "latency p95", latency_p95_s=30.0, latency=latency(5, 4, 6))
    assert found.verdict is Verdict.PROMOTE


@pytest.mark.parametrize(
    ("cost", "verdict"),
    [
        (0.0, Verdict.PROMOTE),
        (2.0, Verdict.PROMOTE),
        (2.01, Verdict.REJECT),
        (None, Verdict.INCONCLUSIVE),
        (float("nan"), Verdict.INCONCLUSIVE),
        (-1.0, Verdict.INCONCLUSIVE),
    ],
)
def test_cost_is_held_against_its_limit(cost: float | None, verdict: Verdict) -> None:
    assert guard({"cost_per_1000_usd": 2}, "cost", cost_per_1000_usd=cost).verdict is verdict


@pytest.mark.parametrize("metric", sorted(TASKS))
@pytest.mark.parametrize(
    ("invalid", "verdict"), [(0, "PROMOTE"), (2, "PROMOTE"), (5, "INCONCLUSIVE"), (40, "REJECT")]
)
def test_the_form_that_counts_is_the_tasks(metric: str, invalid: int, verdict: str) -> None:
    mine = [outcome(at, 1.0, scores={"accuracy": 1.0, metric: float(at >= invalid)}) for at in range(200)]
    parts = {"evaluation": {"endpoint": "vllm", "rules": {"lacks": ["!"]}}, "task": TASKS[metric]}
    decision = judge(spec({"valid_format": 0.99}, **parts), {"candidate": mine, "base": BAD})
    found = check(decision, "valid format")
    assert (decision.verdict, found.verdict) == (verdict, verdict)
    assert found.value == 1 - invalid / 200 and f"({metric})" in found.sentence
    assert found.low is not None and found.high is not None and found.low <= found.value <= found.high


def test_failed_calls_are_no_answers_of_a_wrong_form() -> None:
    rules = spec({"valid_format": 1, "max_failed": 0.1})
    decision = judge(rules, {"candidate": failing(GOOD, 10), "base": BAD})
    assert check(decision, "valid format").n == 190
    assert check(decision, "valid format").verdict is Verdict.PROMOTE


def test_a_form_that_was_not_measured_is_open() -> None:
    scored = [row.model_copy(update={"scores": {"accuracy": 1.0}}) for row in GOOD]
    for mine in (scored, [*GOOD[:199], scored[199]]):
        decision = judge(spec({"valid_format": 0.5}), {"candidate": mine, "base": BAD})
        assert decision.verdict is Verdict.INCONCLUSIVE
        assert "have no score of valid_label" in check(decision, "valid format").sentence


def test_a_form_of_free_texts_without_rules_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ValueError, match="gate.valid_format: a free text keeps evaluation.rules"):
        spec({"valid_format": 0.9}, task=TASKS["rules"])


def test_no_limit_no_check() -> None:
    decision = judge(spec(), {"candidate": GOOD, "base": BAD})
    assert not [one for one in decision.checks if one.kind == "guard"]
