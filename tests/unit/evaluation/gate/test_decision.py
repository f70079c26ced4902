"""The whole decision: what leads to which verdict, and what must not change it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from retune.records import Outcome, Verdict
from tests.unit.evaluation.gate.builders import answers, check, judge, spec

LABELS = ("billing", "shipping", "returns", "account")
SLICED = {"slices": {"by": ["label"], "max_drop": 0.1}}
COUNTS = st.tuples(*(st.integers(0, most) for most in (80, 120, 40, 40))).filter(lambda four: sum(four) >= 50)
"""Examples that both got right, that only the first did, only the second, and neither."""
Counts = tuple[int, ...]


def labelled(*scores: float | tuple[int, float]) -> list[Outcome]:
    """Answers whose expected labels take turns."""
    rows = answers(*scores)
    return [row.model_copy(update={"expected": LABELS[at % 4]}) for at, row in enumerate(rows)]


def test_better_on_average_but_broken_on_one_slice_is_rejected() -> None:
    base = labelled(*[0.0 if at % 2 else 1.0 for at in range(400)])
    good = [1.0] * 400
    broken = [0.0 if at % 4 == 2 else 1.0 for at in range(400)]
    rules = spec(SLICED)
    fine = judge(rules, {"candidate": labelled(*good), "base": base})
    worse = judge(rules, {"candidate": labelled(*broken), "base": base})
    assert fine.verdict is Verdict.PROMOTE
    assert check(worse, "beats base").verdict is Verdict.PROMOTE
    assert worse.verdict is Verdict.REJECT
    assert worse.reason.startswith("label = returns: -100.0 points against base on 100 examples")


def test_one_failed_check_outweighs_what_is_not_settled() -> None:
    found = {"candidate": answers((60, 1), (140, 0)), "base": answers((160, 1), (40, 0))}
    decision = judge(spec({"latency_p95_ms": 800}), found)
    assert check(decision, "latency p95").verdict is Verdict.INCONCLUSIVE
    assert decision.verdict is Verdict.REJECT


def test_a_missing_guard_keeps_a_proven_gain_waiting() -> None:
    found = {"candidate": labelled((190, 1), (10, 0)), "base": labelled((20, 1), (180, 0))}
    rules = {
        "latency_p95_ms": 800,
        "cost_per_1000_usd": 1,
        "forgetting": {"rows": "old.jsonl"},
        "safety": {"prompts": "safe.jsonl"},
        "slices": {"by": ["region"]},
    }
    for rule, value in rules.items():
        decision = judge(spec({rule: value}), found)
        assert decision.verdict is Verdict.INCONCLUSIVE, rule
        assert check(decision, "beats base").verdict is Verdict.PROMOTE
    decision = judge(spec(rules), found)
    assert "Also: " in decision.reason


def test_the_record_holds_its_evidence() -> None:
    found = {"candidate": answers((190, 1), (10, 0)), "base": answers((20, 1), (180, 0))}
    decision = judge(spec(), found, held_out_uses=2)
    assert decision.candidate.name == "candidate"
    assert set(decision.reports) == set(found)
    assert decision.dataset_digest == "sha256:" + "d" * 64
    kinds = [one.kind for one in decision.checks]
    order = {"precondition": 0, "claim": 1, "guard": 2}
    assert all(order[one] <= order[other] for one, other in pairwise(kinds))
    assert type(decision).from_json(decision.to_json()) == decision


def both(counts: Counts) -> tuple[list[Outcome], list[Outcome]]:
    """Return two contenders' labelled answers."""
    first, second = (1.0, 1.0, 0.0, 0.0), (1.0, 0.0, 1.0, 0.0)
    mine, theirs = (labelled(*zip(counts, scores, strict=True)) for scores in (first, second))
    return mine, theirs


@settings(max_examples=25)
@given(counts=COUNTS, graded=st.lists(st.floats(0, 1), max_size=10), seed=st.integers(0, 99))
def test_the_order_of_the_examples_does_not_matter(counts: Counts, graded: list[float], seed: int) -> None:
    mine, theirs = both(counts)
    mine[: len(graded)] = labelled(*graded)
    rules = spec(SLICED)
    decision = judge(rules, {"candidate": mine, "base": theirs})
    Random(seed).shuffle(mine)
    Random(seed + 1).shuffle(theirs)
    assert judge(rules, {"candidate": mine, "base": theirs}) == decision


@settings(max_examples=25)
@given(counts=COUNTS, levels=st.tuples(st.floats(0.8, 0.999), st.floats(0.8, 0.999)))
def test_more_confidence_never_settles_what_was_open(counts: Counts, levels: tuple[float, float]) -> None:
    mine, theirs = both(counts)
    less, more = (
        judge(spec(SLICED | {"confidence": level, "valid_format": 0.9}), {"candidate": mine, "base": theirs})
        for level in sorted(levels)
    )
    if less.verdict is Verdict.INCONCLUSIVE:
        assert more.verdict is Verdict.INCONCLUSIVE
    for one, other in zip(less.checks, more.checks, strict=True):
        assert other.verdict in (one.verdict, *_open(one.kind))


def _open(kind: str) -> tuple[Verdict, ...]:
    """Return what more confidence may turn a check into: a claim opens again, a veto falls away."""
    return (Verdict.INCONCLUSIVE,) if kind == "claim" else (Verdict.PROMOTE, Verdict.INCONCLUSIVE)


@settings(max_examples=25)
@given(counts=COUNTS)
def test_nothing_is_promoted_without_a_gain_on_the_examples(counts: Counts) -> None:
    mine, theirs = both(counts)
    decision = judge(spec({"beats": {"base": 0.05}}), {"candidate": mine, "base": theirs})
    if decision.verdict is Verdict.PROMOTE:
        assert (counts[1] - counts[2]) / sum(counts) > 0.05
    assert decision.reason and all(one.sentence for one in decision.checks)
