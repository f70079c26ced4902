"""The gate promotes on proof only, and fails closed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.evaluation.gate import decide
from retune.records import Decision, Outcome, Verdict
from tests.unit.evaluation.builders import SPEC, dataset, outcomes, report

GOOD, BAD = True, False


def judge(folder: Path, live: str | None = None, /, **found: Sequence[Outcome]) -> Decision:
    """Decide over outcomes by contender's name."""
    reports = {name: report(name, rows, folder) for name, rows in found.items()}
    return decide(SPEC, dataset(len(found["candidate"])), reports, found, live)


def mixed(right: int, wrong: int) -> list[bool]:
    return [GOOD] * right + [BAD] * wrong


def test_a_clear_gain_is_promoted_with_its_numbers(tmp_path: Path) -> None:
    decision = judge(tmp_path, candidate=outcomes(mixed(180, 20)), base=outcomes(mixed(40, 160)))
    assert decision.verdict is Verdict.PROMOTE
    check = next(check for check in decision.checks if check.name == "beats base")
    assert check.value == pytest.approx(0.7)
    assert check.low is not None and check.low > 0.05 and check.n == 200
    assert "+70.0 points" in decision.reason


def test_a_worse_candidate_is_rejected(tmp_path: Path) -> None:
    decision = judge(tmp_path, candidate=outcomes(mixed(60, 140)), base=outcomes(mixed(160, 40)))
    assert decision.verdict is Verdict.REJECT


def test_a_small_gain_is_inconclusive(tmp_path: Path) -> None:
    decision = judge(tmp_path, candidate=outcomes(mixed(112, 88)), base=outcomes(mixed(100, 100)))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "not settled" in decision.reason


@pytest.mark.parametrize("right", [0, 100, 200])
def test_a_tie_is_not_a_win(tmp_path: Path, right: int) -> None:
    same = outcomes(mixed(right, 200 - right))
    assert judge(tmp_path, candidate=same, base=same).verdict is not Verdict.PROMOTE


def test_a_refresh_need_not_win_but_must_not_lose(tmp_path: Path) -> None:
    base = outcomes(mixed(50, 350))
    champion = outcomes(mixed(360, 40))
    name = "digest of champion"
    equal = judge(tmp_path, name, candidate=champion, base=base, champion=champion)
    worse = judge(tmp_path, name, candidate=outcomes(mixed(300, 100)), base=base, champion=champion)
    near = judge(tmp_path, name, candidate=outcomes(mixed(353, 47)), base=base, champion=champion)
    assert equal.verdict is Verdict.PROMOTE
    assert worse.verdict is Verdict.REJECT
    assert near.verdict is Verdict.INCONCLUSIVE


def test_a_missing_or_other_champion_is_never_promoted_over(tmp_path: Path) -> None:
    good, base = outcomes(mixed(190, 10)), outcomes(mixed(20, 180))
    absent = judge(tmp_path, "digest of champion", candidate=good, base=base)
    other = judge(tmp_path, "digest of another", candidate=good, base=base, champion=base)
    assert absent.verdict is other.verdict is Verdict.INCONCLUSIVE
    assert "no evaluation of champion" in absent.reason


def test_the_champion_itself_is_not_released_again(tmp_path: Path) -> None:
    good, base = outcomes(mixed(190, 10)), outcomes(mixed(20, 180))
    reports = {
        "candidate": report("candidate", good, tmp_path, digest="sha256:same"),
        "champion": report("champion", good, tmp_path, digest="sha256:same"),
        "base": report("base", base, tmp_path),
    }
    found = {"candidate": good, "champion": good, "base": base}
    decision = decide(SPEC, dataset(200), reports, found, "sha256:same")
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "serves already" in decision.reason


def test_too_few_examples_promote_nothing(tmp_path: Path) -> None:
    decision = judge(tmp_path, candidate=outcomes([GOOD] * 30), base=outcomes([BAD] * 30))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "fewer than the 50" in decision.reason


def test_failed_calls_promote_nothing(tmp_path: Path) -> None:
    decision = judge(tmp_path, candidate=outcomes(mixed(190, 10)), base=outcomes(mixed(20, 180), failed=15))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "cannot be trusted" in decision.reason


def test_another_set_or_a_missing_metric_promotes_nothing(tmp_path: Path) -> None:
    good, base = outcomes(mixed(190, 10)), outcomes(mixed(20, 180))
    found = {"candidate": good, "base": base}
    fine = {name: report(name, rows, tmp_path) for name, rows in found.items()}
    elsewhere = {**fine, "base": report("base", base, tmp_path, set_digest="sha256:" + "9" * 64)}
    unmeasured = {**fine, "base": fine["base"].model_copy(update={"metrics": {}})}
    nan = fine["base"].metrics["accuracy"].model_copy(update={"value": float("nan")})
    not_a_number = {**fine, "base": fine["base"].model_copy(update={"metrics": {"accuracy": nan}})}
    fewer = {**found, "base": base[:150]}
    assert decide(SPEC, dataset(200), fine, found, None).verdict is Verdict.PROMOTE
    for reports in (elsewhere, unmeasured, not_a_number):
        assert decide(SPEC, dataset(200), reports, found, None).verdict is Verdict.INCONCLUSIVE
    assert decide(SPEC, dataset(200), fine, fewer, None).verdict is Verdict.INCONCLUSIVE


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_promotion_without_a_gain_on_the_examples(tmp_path: Path, data: st.DataObject) -> None:
    n = data.draw(st.integers(50, 120))
    booleans = st.lists(st.booleans(), min_size=n, max_size=n)
    mine, theirs = data.draw(booleans), data.draw(booleans)
    decision = judge(tmp_path, candidate=outcomes(mine), base=outcomes(theirs))
    if decision.verdict is Verdict.PROMOTE:
        assert sum(mine) / n > sum(theirs) / n + SPEC.gate.beats.base
    for check in decision.checks:
        assert check.sentence and check.n == n
