"""The classical figures agree with their sources."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap
from statsmodels.stats.contingency_tables import mcnemar

from retune.stats.paired import harm, mcnemar_exact, paired_bootstrap

counts = st.integers(0, 200)
few = settings(deadline=None, max_examples=30)


@given(counts, counts)
@few
def test_mcnemar_agrees_with_statsmodels(first_only: int, second_only: int) -> None:
    if first_only + second_only == 0:
        assert mcnemar_exact(0, 0) == 1
        return
    theirs = mcnemar([[7, first_only], [second_only, 9]], exact=True).pvalue
    assert mcnemar_exact(first_only, second_only) == pytest.approx(theirs, rel=1e-9)


def test_the_bootstrap_agrees_with_scipys_percentile_interval_on_the_same_examples() -> None:
    differences = [1.0] * 70 + [-1.0] * 40 + [0.0] * 388
    with_two_more = (np.array([*differences, 1.0, -1.0]),)
    theirs = scipy_bootstrap(
        with_two_more, np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(3)
    ).confidence_interval
    assert paired_bootstrap(differences, 0.95, 1) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_the_bootstrap_is_repeatable_and_free_of_the_order() -> None:
    differences = [0.3, -0.2, 0.9, 0.0, 0.1, -0.5] * 20
    assert paired_bootstrap(differences, 0.9, 4) == paired_bootstrap(differences[::-1], 0.9, 4)
    assert paired_bootstrap(differences, 0.9, 4) != paired_bootstrap(differences, 0.9, 5)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.integers(0, 9))
@few
def test_the_bootstrap_holds_the_mean(differences: list[float], seed: int) -> None:
    low, high = paired_bootstrap(differences, 0.95, seed)
    assert -1 - 1e-9 <= low <= sum(differences) / len(differences) + 1e-9
    assert low <= high <= 1 + 1e-9


def test_groups_that_answer_alike_widen_the_bootstrap_as_fewer_examples_do() -> None:
    few = [1.0] * 14 + [-1.0] * 8 + [0.0] * 78
    copied = [value for value in few for _ in range(4)]
    names = [f"{at // 4}" for at in range(len(copied))]
    assert paired_bootstrap(copied, 0.95, 1, names) == pytest.approx(paired_bootstrap(few, 0.95, 1), abs=0.01)
    low, high = paired_bootstrap(copied, 0.95, 1)
    assert high - low < 0.6 * np.diff(paired_bootstrap(copied, 0.95, 1, names))[0]


@given(counts, counts, counts)
@few
def test_harm_of_single_answers_is_the_exact_test_of_signs(wins: int, losses: int, ties: int) -> None:
    if wins + losses + ties == 0:
        return
    found = harm([1] * wins + [-1] * losses + [0] * ties)
    if wins + losses == 0:
        assert found == 1
    else:
        assert found == binomtest(wins, wins + losses, alternative="less").pvalue


def test_harm_of_few_graded_answers_counts_all_flips() -> None:
    differences = [-0.5, -0.3, 0.1, -0.7, -0.2]
    flipped = [
        sum(sign * abs(value) for sign, value in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=5)
    ]
    expected = sum(total <= sum(differences) + 1e-12 for total in flipped) / 2**5
    assert harm(differences) == pytest.approx(expected)


def test_harm_sees_graded_loss_and_not_gain_and_takes_a_group_as_one() -> None:
    rng = np.random.default_rng(1)
    losses = (-0.05 + 0.2 * rng.uniform(-1, 1, 100)).tolist()
    assert harm(losses) < 0.001
    assert harm([-value for value in losses]) > 0.999
    assert harm(losses, seed=1) == harm(losses[::-1], seed=1)
    copied = [-1.0] * 8
    assert harm(copied) == 0.5**8
    assert harm(copied, ["anna"] * 4 + ["ben"] * 4) == 0.25


def test_harm_is_found_no_oftener_than_chance_allows() -> None:
    rng = np.random.default_rng(2)
    found = [harm(rng.uniform(-1, 1, 9).tolist()) for _ in range(150)]
    assert binomtest(sum(p <= 0.05 for p in found), 150, 0.05, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("losses", [14, 15, 20, 200])
def test_harm_of_graded_losses_alone_is_as_small_as_it_is_though_flips_are_drawn(losses: int) -> None:
    found = harm(np.linspace(-0.9, -0.5, losses).tolist())
    assert found == pytest.approx(0.5**losses, rel=1e-6)


def test_a_rare_loss_is_never_said_to_be_rarer_than_it_is() -> None:
    rng = np.random.default_rng(3)
    signs = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    for _ in range(20):
        differences = -rng.uniform(0.1, 1, 16)
        differences[: rng.integers(3)] *= -0.2
        true = ((signs * np.abs(differences)).sum(axis=1) <= differences.sum() + 1e-12).mean()
        found = harm(differences.tolist())
        assert true * (1 - 1e-9) <= found <= max(10 * true, 2e-3)
