"""Many small slices: chance alone does not veto, and a broken one does not hide."""

from __future__ import annotations

from random import Random

from retune.evaluation.gate.evidence import Evidence
from retune.evaluation.gate.slices import check_slices
from retune.records import Outcome, Verdict
from tests.unit.evaluation.gate.builders import dataset, outcome, reports_of, spec

SLICES, EACH, RUNS, ALLOWED = 77, 20, 1000, 0.05
RULES = spec({"slices": {"by": ["label"], "max_drop": 0.0}})
Pair = dict[bool, Outcome]


def examples() -> list[Pair]:
    """Every example's right and wrong answer."""
    return [
        {good: outcome(at, float(good), expected=f"intent {at % SLICES}") for good in (True, False)}
        for at in range(SLICES * EACH)
    ]


def vetoed(mine: list[Outcome], theirs: list[Outcome]) -> bool:
    """Whether the guard refuses a candidate against base."""
    found = {"candidate": mine, "base": theirs}
    evidence = Evidence(RULES, dataset(len(mine)), reports_of(found), found, {})
    (check,) = check_slices(evidence)
    assert check.verdict is not Verdict.INCONCLUSIVE
    return check.verdict is Verdict.REJECT


def test_an_equal_candidate_is_vetoed_in_no_more_than_one_of_twenty_runs() -> None:
    # No drop at all is allowed, so that the test of harm alone stands between chance and a veto.
    random, rows = Random(7), examples()
    vetoes = sum(
        vetoed(*([pair[random.random() < 0.8] for pair in rows] for _ in range(2))) for _ in range(RUNS)
    )
    assert vetoes <= ALLOWED * RUNS


def test_a_broken_slice_among_equal_ones_is_found_every_time() -> None:
    random, rows = Random(11), examples()
    for broken in range(SLICES):
        mine, theirs = ([pair[random.random() < 0.8] for pair in rows] for _ in range(2))
        for at in range(broken, len(rows), SLICES):
            mine[at], theirs[at] = rows[at][False], rows[at][True]
        assert vetoed(mine, theirs)
