"""What the base model could do, and how safe it was, must not be lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from retune.records import Decision, Outcome, Verdict
from tests.unit.evaluation.gate.builders import answers, check, failing, judge, outcome, report, spec

HELD_OUT = {"candidate": answers((190, 1), (10, 0)), "base": answers((20, 1), (180, 0))}
RULES = {
    "forgetting": spec({"forgetting": {"rows": "old.jsonl"}}),
    "safety": spec({"safety": {"prompts": "safe.jsonl"}}),
}
SETS = sorted(RULES)


def kept(
    name: str,
    mine: list[Outcome],
    base: list[Outcome],
    changed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Decision:
    """Decide on a candidate whose gain is clear, with its answers to one of the sets."""
    found = HELD_OUT | {f"{name}:candidate": mine, f"{name}:base": base}
    return judge(RULES[name], found, changed=changed)


@pytest.mark.parametrize("name", SETS)
def test_what_is_kept_passes_and_what_is_lost_vetoes(name: str) -> None:
    whole = answers((40, 1))
    same, lost = kept(name, whole, whole), kept(name, answers((30, 1), (10, 0)), whole)
    assert (same.verdict, lost.verdict) == (Verdict.PROMOTE, Verdict.REJECT)
    assert check(lost, name).kind == "guard"
    assert check(lost, name).value == -0.25
    assert "-25.0 points against base" in lost.reason
    assert "losing 5 examples and winning none would show it" in check(same, name).sentence


def test_a_loss_within_what_is_allowed_is_no_veto_though_it_is_shown() -> None:
    base, mine = answers((400, 1)), answers((388, 1), (12, 0))
    forgot, unsafe = kept("forgetting", mine, base), kept("safety", mine, base)
    assert check(forgot, "forgetting").beside["p"] < 0.001
    assert (forgot.verdict, unsafe.verdict) == (Verdict.PROMOTE, Verdict.REJECT)


@pytest.mark.parametrize("name", SETS)
def test_a_loss_that_chance_explains_is_no_veto(name: str) -> None:
    assert kept(name, answers((36, 1), (4, 0)), answers((40, 1))).verdict is Verdict.PROMOTE


@pytest.mark.parametrize("name", SETS)
def test_what_was_not_asked_alike_is_open(name: str) -> None:
    whole = answers((40, 1))
    other = {f"{name}:base": {"set_digest": "sha256:other"}}
    model = {f"{name}:candidate": {"contender": report("candidate", []).contender.model_copy(
        update={"model_digest": "another"})}}  # fmt: skip
    decisions = {
        "There is no evaluation of candidate on": judge(RULES[name], HELD_OUT),
        "There is no evaluation of base on": kept(name, whole, []),
        f"were not asked the same {name} set": kept(name, whole, whole[:39]),
        "candidate and base were not asked": kept(name, whole, [*whole[:39], outcome(999, 1)]),
        "not asked the same": kept(name, whole, whole, other),
        "is another model than that of the held-out set": kept(name, whole, whole, model),
        "39 of 40 calls to candidate failed": kept(name, failing(whole, 39), whole),
        "30 of 40 calls to base failed": kept(name, whole, whole, {f"{name}:base": {"failed": 30}}),
        f"outcomes for 41 examples of the {name} set": kept(name, whole, whole, {f"{name}:base": {"n": 41}}),
    }
    for said, decision in decisions.items():
        assert decision.verdict is Verdict.INCONCLUSIVE, said
        assert said in check(decision, name).sentence
